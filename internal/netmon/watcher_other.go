//go:build !linux

package netmon

func newWatcher() (watcher, State, error) {
	s, err := read()
	if err != nil {
		return nil, State{}, err
	}
	return newPoller(PollInterval, read), s, nil
}

func read() (State, error) { return readInterfaces() }
