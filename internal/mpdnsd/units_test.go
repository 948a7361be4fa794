package mpdnsd

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/control"
)

const unitsDir = "../../dist/systemd"

// unit is a unit file: the values of each Section.Key, in their order.
type unit map[string][]string

// parseUnit reads what systemd.syntax(7) says, without line continuations, which
// these files do without. A key that it does not know is an error: systemd itself
// only warns, and goes on without the protection that was meant.
func parseUnit(text string) (unit, error) {
	u := unit{}
	section := ""
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		switch key, value, ok := strings.Cut(line, "="); {
		case line == "" || line[0] == '#':
		case line[0] == '[' && line[len(line)-1] == ']':
			if section = line[1 : len(line)-1]; unitKeys[section] == "" {
				return nil, fmt.Errorf("line %d: unknown section %s", n, section)
			}
		case !ok || strings.HasSuffix(line, `\`):
			return nil, fmt.Errorf("line %d: no KEY=VALUE: %s", n, line)
		case !slices.Contains(strings.Fields(unitKeys[section]), key):
			return nil, fmt.Errorf("line %d: unknown key %s in [%s]", n, key, section)
		case value == "":
			return nil, fmt.Errorf("line %d: %s has no value", n, key)
		default:
			u[section+"."+key] = append(u[section+"."+key], value)
		}
	}
	return u, lines.Err()
}

// unitKeys is the keys in use, as systemd.unit(5), systemd.service(5),
// systemd.socket(5), systemd.exec(5) and systemd.kill(5) spell them.
var unitKeys = map[string]string{
	"Unit":    "Description Documentation After Before Wants StartLimitIntervalSec StartLimitBurst",
	"Install": "WantedBy",
	"Socket":  "ListenDatagram ListenStream ListenSequentialPacket SocketMode BindIPv6Only FileDescriptorName RemoveOnStop Service",
	"Service": `Type NotifyAccess ExecStart ExecReload Restart RestartSec TimeoutStopSec WatchdogSec LimitNOFILE
		DynamicUser RuntimeDirectory RuntimeDirectoryPreserve CacheDirectory StateDirectory UMask AmbientCapabilities CapabilityBoundingSet
		NoNewPrivileges RestrictAddressFamilies SystemCallArchitectures SystemCallFilter SystemCallErrorNumber ProtectSystem
		ProtectHome ProtectClock ProtectControlGroups ProtectHostname ProtectKernelLogs ProtectKernelModules
		ProtectKernelTunables ProtectProc PrivateDevices PrivateTmp LockPersonality MemoryDenyWriteExecute RemoveIPC
		RestrictNamespaces RestrictRealtime RestrictSUIDSGID`,
}

func readUnit(t *testing.T, name string) unit {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(unitsDir, name))
	if err != nil {
		t.Fatal(err)
	}
	u, err := parseUnit(string(text))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return u
}

// TestUnits holds the unit files to the daemon: what they promise it does, and
// what it needs they give.
func TestUnits(t *testing.T) {
	service := readUnit(t, "mpdnsd.service")
	for key, want := range map[string]string{
		"Type": "notify", "DynamicUser": "yes", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "MemoryDenyWriteExecute": "yes",
		"AmbientCapabilities": "CAP_NET_BIND_SERVICE", "CapabilityBoundingSet": "CAP_NET_BIND_SERVICE",
		"ExecReload": "/bin/kill -HUP $MAINPID", "RuntimeDirectory": filepath.Base(filepath.Dir(control.DefaultPath)),
		"RuntimeDirectoryPreserve": "yes", "ProtectKernelTunables": "yes",
	} {
		if got := strings.Join(service["Service."+key], " "); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
	args := strings.Fields(service["Service.ExecStart"][0])
	if err := command(process{}).ParseFlags(args[1:]); err != nil {
		t.Errorf("ExecStart: %v", err)
	}
	c := config.Default()
	c.Paths.Enabled = true
	if got := service["Service.LimitNOFILE"][0]; got != "65536" || fileNeed(&c, 64) > 65536 {
		t.Errorf("LimitNOFILE=%s, the default settings on 64 cores need %d", got, fileNeed(&c, 64))
	}
	paths := readUnit(t, "mpdnsd.service.d/paths.conf")
	if got := paths["Service.AmbientCapabilities"][0]; got != "CAP_NET_ADMIN" {
		t.Error(got)
	}
	if got := readUnit(t, "mpdnsd-paths.socket")["Socket.ListenSequentialPacket"][0]; got != broker.DefaultPath {
		t.Errorf("ListenSequentialPacket=%s", got)
	}
	socket := readUnit(t, "mpdnsd.socket")
	var want []string
	for _, a := range c.Listen {
		want = append(want, a.String())
	}
	if !slices.Equal(socket["Socket.ListenDatagram"], want) || !slices.Equal(socket["Socket.ListenStream"], want) {
		t.Errorf("sockets %q and %q, want %q", socket["Socket.ListenDatagram"], socket["Socket.ListenStream"], want)
	}
}

// TestParseUnit refuses what systemd would pass over.
func TestParseUnit(t *testing.T) {
	for text, want := range map[string]string{
		"[Service]\nProtectSytem=strict\n": "line 2: unknown key ProtectSytem in [Service]",
		"[Servce]\n":                       "line 1: unknown section Servce",
		"[Unit]\nDescription\n":            "line 2: no KEY=VALUE: Description",
		"[Unit]\nDescription=\n":           "line 2: Description has no value",
		"[Unit]\nType=notify\n":            "line 2: unknown key Type in [Unit]",
		"[Service]\nExecStart=a \\\n":      `line 2: no KEY=VALUE: ExecStart=a \`,
	} {
		if _, err := parseUnit(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestDocsNameUnits wants the operator's page to name each unit file.
func TestDocsNameUnits(t *testing.T) {
	text, err := os.ReadFile("../../docs/mpdnsd.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(unitsDir + "/*.[sS]*")
	if err != nil || len(files) < 3 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, f := range append(files, "mpdnsd.service.d/paths.conf") {
		if base := filepath.Base(f); !regexp.MustCompile(`dist/systemd/\S*` + regexp.QuoteMeta(base)).MatchString(string(text)) {
			if info, err := os.Stat(f); err == nil && info.IsDir() {
				continue
			}
			t.Errorf("%s is not named", base)
		}
	}
}

// TestUnitsVerify has systemd itself read the unit files, on machines that have
// it. The tests above hold everywhere.
func TestUnitsVerify(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Logf("systemd-analyze is not here: %v", err)
		return
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(unitsDir)); err != nil {
		t.Fatal(err)
	}
	service := filepath.Join(dir, "mpdnsd.service")
	text, err := os.ReadFile(service)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable() // verify wants the program to be there
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), "/usr/local/bin/mpdnsd", program, 1))
	if err := os.WriteFile(service, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--man=no", service, filepath.Join(dir, "mpdnsd.socket"), filepath.Join(dir, "mpdnsd-paths.socket")).CombinedOutput()
	if err != nil || strings.Contains(string(out), dir) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
