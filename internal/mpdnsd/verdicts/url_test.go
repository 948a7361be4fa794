package verdicts

import (
	"strings"
	"testing"
)

// TestCheckURL: what a server can be, and that a password is not repeated.
func TestCheckURL(t *testing.T) {
	for url, want := range map[string]string{
		"redis://localhost":                         "localhost:6379",
		"redis://[2001:db8::1]:7000/3":              "[2001:db8::1]:7000",
		"rediss://user:p%3Fss@redis.example:6380/0": "redis.example:6380",
		"valkey://192.0.2.1":                        "192.0.2.1:6379",
		"unix:///run/redis/redis.sock":              "/run/redis/redis.sock",
		"unix://:secret@/run/redis/redis.sock?db=1": "/run/redis/redis.sock",
	} {
		o, err := option(url)
		if err != nil || len(o.InitAddress) != 1 || o.InitAddress[0] != want || (o.TLSConfig != nil) != strings.HasPrefix(url, "rediss") {
			t.Errorf("%s: %v, %v", url, o.InitAddress, err)
		}
	}
	for _, url := range []string{
		"", "redis", "redis://", "localhost:6379", "http://user:secret@localhost", "redis://:secret@localhost/x", "redis://:secret@localhost/1/2",
		"redis://:secret@local host", "redis://:secret@localhost?skip_verify=1", "rediss://:secret@localhost/0?skip_verify=true",
		"redis://:secret@localhost:port", "redis://:secret@%zz", "redis://:secret@localhost/-1", "unix://",
	} {
		err := CheckURL(url)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", url, err)
		}
	}
}
