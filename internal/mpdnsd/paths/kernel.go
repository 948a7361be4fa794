package paths

import "github.com/af-multipath/mpresolve/internal/mptcp"

// kernel is what the service asks of the machine besides its path manager.
type kernel interface {
	OpenPathManager() (mptcp.PathManager, error)
	PathManager() (string, error)
	SetPathManager(name string) error
	Endpoints() ([]mptcp.Endpoint, error)
	Limits() (mptcp.Limits, error)
	Connections() ([]mptcp.Connection, error)
	Subflows() ([]mptcp.SubflowState, error)
}

// linuxKernel is the machine itself.
type linuxKernel struct{}

func (linuxKernel) OpenPathManager() (mptcp.PathManager, error) { return mptcp.OpenPathManager() }
func (linuxKernel) SetPathManager(name string) error            { return mptcp.SetPathManager(name) }
func (linuxKernel) Endpoints() ([]mptcp.Endpoint, error)        { return mptcp.Endpoints() }
func (linuxKernel) Limits() (mptcp.Limits, error)               { return mptcp.ReadLimits() }
func (linuxKernel) Connections() ([]mptcp.Connection, error)    { return mptcp.Connections() }
func (linuxKernel) Subflows() ([]mptcp.SubflowState, error)     { return mptcp.Subflows() }

func (linuxKernel) PathManager() (string, error) {
	system, err := mptcp.ReadSystem()
	return system.PathManager, err
}
