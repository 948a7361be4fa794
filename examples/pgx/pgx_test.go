package pgxexample

import (
	"database/sql"
	"net"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/examples/internal/exampletest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestConfig asks PostgreSQL through database/sql.
func TestConfig(t *testing.T) {
	postgres := exampletest.Program(t, "postgres", "postgresql")
	initdb := exampletest.Program(t, "initdb", "postgresql")
	data := filepath.Join(exampletest.Dir(t), "data")
	exampletest.Run(t, initdb, "-D", data, "-U", "example", "--auth=trust", "--no-sync", "--locale=C")

	for _, way := range exampletest.Ways() {
		t.Run(way.Name, func(t *testing.T) {
			port := exampletest.Port(t)
			way.Start(t, exampletest.Server{
				Command: []string{
					postgres, "-D", data, "-p", port,
					"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
				},
				Ready: "database system is ready to accept connections",
			})

			var d dialer.Dialer
			config, err := Config(&d, "postgres://example@localhost:"+port+"/postgres?sslmode=disable")
			if err != nil {
				t.Fatal(err)
			}
			db := stdlib.OpenDB(*config)
			defer db.Close()

			var sum int
			if err := db.QueryRowContext(t.Context(), "SELECT $1::int + 1", 41).Scan(&sum); err != nil || sum != 42 {
				t.Errorf("the database says %d, %v, want 42", sum, err)
			}
			way.Check(t, connOf(t, db))
		})
	}
}

// connOf returns a connection of the pool.
func connOf(t *testing.T, db *sql.DB) (conn net.Conn) {
	t.Helper()
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = c.Raw(func(driver any) error {
		conn = driver.(*stdlib.Conn).Conn().PgConn().Conn()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestBadURL wants pgx's error.
func TestBadURL(t *testing.T) {
	var d dialer.Dialer
	if _, err := Config(&d, "postgres://localhost:none/"); err == nil {
		t.Error("no error for a port that is none")
	}
}
