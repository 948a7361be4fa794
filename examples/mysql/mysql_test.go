package mysqlexample

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/go-sql-driver/mysql"
	"go.uber.org/goleak"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/examples/internal/exampletest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestConfig asks MariaDB through database/sql.
func TestConfig(t *testing.T) {
	mariadbd := exampletest.Program(t, "mariadbd", "mariadb-server-core")
	install := exampletest.Program(t, "mariadb-install-db", "mariadb-server-core")
	exampletest.Program(t, "my_print_defaults", "mariadb-client-core") // mariadb-install-db calls it
	dir := exampletest.Dir(t)
	data := filepath.Join(dir, "data")
	exampletest.Run(t, install, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")

	for _, way := range exampletest.Ways() {
		t.Run(way.Name, func(t *testing.T) {
			port := exampletest.Port(t)
			way.Start(t, exampletest.Server{
				Command: []string{
					mariadbd, "--no-defaults", "--datadir=" + data, "--port=" + port,
					"--bind-address=127.0.0.1", "--socket=" + filepath.Join(dir, "socket"),
				},
				Ready: "ready for connections",
			})

			var d dialer.Dialer
			config, err := Config(&d, "root@tcp(localhost:"+port+")/")
			if err != nil {
				t.Fatal(err)
			}
			var conns exampletest.Conns
			config.DialFunc = conns.Watch(config.DialFunc)
			connector, err := mysql.NewConnector(config)
			if err != nil {
				t.Fatal(err)
			}
			db := sql.OpenDB(connector)
			defer db.Close()

			var sum int
			if err := db.QueryRowContext(t.Context(), "SELECT ? + 1", 41).Scan(&sum); err != nil || sum != 42 {
				t.Errorf("the database says %d, %v, want 42", sum, err)
			}
			way.Check(t, conns.First(t))
		})
	}
}

// TestBadDSN wants the driver's error.
func TestBadDSN(t *testing.T) {
	var d dialer.Dialer
	if _, err := Config(&d, "localhost"); err == nil {
		t.Error("no error for a data source name without a slash")
	}
}
