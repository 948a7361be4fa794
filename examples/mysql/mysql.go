// Package mysqlexample sets up go-sql-driver/mysql, the driver for MySQL and
// MariaDB, to connect with a [dialer.Dialer].
package mysqlexample

import (
	"github.com/go-sql-driver/mysql"

	"github.com/af-multipath/mpresolve/dialer"
)

// Config returns the configuration of connections to the database of dsn,
// "user:password@tcp(host:3306)/database", that are made with d. Pass it to
// [mysql.NewConnector], and the connector to [database/sql.OpenDB].
//
// DialFunc belongs to this configuration alone; [mysql.RegisterDialContext]
// would be for the whole program.
func Config(d *dialer.Dialer, dsn string) (*mysql.Config, error) {
	config, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	config.DialFunc = d.DialContext
	return config, nil
}
