package redisexample

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/examples/internal/exampletest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestOptions writes a value to Redis and reads it.
func TestOptions(t *testing.T) {
	program := exampletest.Program(t, "redis-server", "redis-server")
	for _, way := range exampletest.Ways() {
		t.Run(way.Name, func(t *testing.T) {
			port := exampletest.Port(t)
			way.Start(t, exampletest.Server{
				Command: []string{
					program, "--port", port, "--bind", "127.0.0.1",
					"--dir", exampletest.Dir(t), "--save", "", "--appendonly", "no",
				},
				Ready: "Ready to accept connections",
			})

			var d dialer.Dialer
			var conns exampletest.Conns
			options := Options(&d, "localhost:"+port)
			options.Dialer = conns.Watch(options.Dialer)
			client := redis.NewClient(options)
			defer client.Close()

			if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
				t.Fatal(err)
			}
			if got, err := client.Get(t.Context(), "key").Result(); got != "value" || err != nil {
				t.Errorf("read %q, %v, want value", got, err)
			}
			way.Check(t, conns.First(t))
		})
	}
}
