// Package pgxexample sets up pgx, the PostgreSQL driver, to connect with a
// [dialer.Dialer].
package pgxexample

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/af-multipath/mpresolve/dialer"
)

// Config returns the configuration of connections to the database at url,
// "postgres://user@host/database", that are made with d. Pass it to
// [pgx.ConnectConfig], to stdlib.OpenDB for a [database/sql.DB], or put it into
// the ConnConfig of a pgxpool.Config.
//
// pgx looks names up before it dials, and would dial each address alone.
// LookupFunc hands the name on as it is, for d to look up, race and join.
func Config(d *dialer.Dialer, url string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.DialFunc = d.DialContext
	config.LookupFunc = func(_ context.Context, host string) ([]string, error) {
		return []string{host}, nil
	}
	return config, nil
}
