package mpdnsd

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
)

// lookupGroup returns the number of a group given by name or number, -1 for "".
// key is the setting that names it.
func lookupGroup(key, name string) (int, error) {
	if name == "" {
		return -1, nil
	}
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(n), nil
	}
	g, err := user.LookupGroup(name)
	if errors.As(err, new(user.UnknownGroupError)) {
		return -1, fmt.Errorf("mpdnsd: %s: this machine has no group %q\nmake it:\n  sudo groupadd --system %[2]s", key, name)
	}
	if err != nil {
		return -1, fmt.Errorf("mpdnsd: %s: look up %q: %w", key, name, err)
	}
	n, err := strconv.Atoi(g.Gid)
	if err != nil {
		return -1, fmt.Errorf("mpdnsd: %s: %q has no number here: %w", key, name, err)
	}
	return n, nil
}
