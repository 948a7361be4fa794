package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// peer is a server to be measured.
type peer struct {
	name    string
	pkg     string   // Debian's; "" where there is none
	program string   // to look for
	env     []string // of its process
	floor   bool     // an echo: it cannot answer, only send back
	// config gives the files of its folder, and its arguments.
	config func(s setting) (files map[string]string, args []string)
}

// setting is what a configuration is made of.
type setting struct {
	dir      string
	port     uint16 // on 127.0.0.1
	upstream uint16 // on 127.0.0.1
	threads  int
}

const (
	ours = "mpdnsd"

	// The floors: what it costs to send datagrams back.
	goEcho = "Go echo"
	cEcho  = "C echo"

	// These as the first argument make this program the Go echo, or the
	// authoritative server; the second is the address.
	echoArg      = "echo"
	authorityArg = "authority"
)

// peers are in the order of the table.
func peers() []peer {
	return []peer{
		{name: "mpdnsd", program: "mpdnsd", config: mpdnsdConfig},
		{name: "unbound", pkg: "unbound", program: "unbound", config: unboundConfig},
		{name: "dnsdist", pkg: "dnsdist", program: "dnsdist", config: dnsdistConfig},
		{name: "pdns-recursor", pkg: "pdns-recursor", program: "pdns_recursor", config: pdnsConfig},
		{name: "knot-resolver", pkg: "knot-resolver", program: "kresd", config: kresdConfig},
		{name: "bind9", pkg: "bind9", program: "named", config: bindConfig},
		{name: "dnsmasq", pkg: "dnsmasq", program: "dnsmasq", config: dnsmasqConfig},
		{name: "CoreDNS", program: "coredns", config: corednsConfig},
		{name: goEcho, program: "dns", floor: true, config: goEchoConfig},
		{name: cEcho, program: "cecho", floor: true, config: cEchoConfig},
	}
}

// find returns where a program is: in dir, on the path, or where Debian puts
// daemons.
func find(program, dir string) (string, error) {
	for _, d := range []string{dir, "/usr/sbin", "/usr/local/sbin"} {
		path := filepath.Join(d, program)
		if i, err := os.Stat(path); err == nil && !i.IsDir() && i.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return exec.LookPath(program)
}

func goEchoConfig(s setting) (map[string]string, []string) {
	return nil, []string{echoArg, fmt.Sprintf("127.0.0.1:%d", s.port)}
}

func cEchoConfig(s setting) (map[string]string, []string) {
	return nil, []string{fmt.Sprint(s.port)}
}

// knotConfig is the authoritative server's.
func knotConfig(s setting) (map[string]string, []string) {
	return map[string]string{"knot.conf": fmt.Sprintf(`server:
    rundir: %[1]q
    listen: 127.0.0.1@%[2]d
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: %[1]q
log:
  - target: stderr
    any: error
zone:
  - domain: %[3]s
    storage: %[1]q
    file: zone
    zonefile-sync: -1
    journal-content: none
`, s.dir, s.port, zoneName)}, []string{"-c", "knot.conf"}
}

func mpdnsdConfig(s setting) (map[string]string, []string) {
	return map[string]string{"mpdnsd.toml": fmt.Sprintf(`listen = ["127.0.0.1:%d"]
[upstream]
servers = ["127.0.0.1:%d"]
[cache]
size = "2GiB"
[hosts]
enabled = false
[control]
socket = ""
`, s.port, s.upstream)}, []string{"--config", "mpdnsd.toml"}
}

func unboundConfig(s setting) (map[string]string, []string) {
	return map[string]string{"unbound.conf": fmt.Sprintf(`server:
    directory: %q
    chroot: ""
    username: ""
    pidfile: ""
    do-daemonize: no
    use-syslog: no
    verbosity: 0
    interface: 127.0.0.1@%d
    do-ip6: no
    num-threads: %d
    so-reuseport: yes
    module-config: "iterator"
    msg-cache-size: 2g
    rrset-cache-size: 2g
    msg-cache-slabs: 4
    rrset-cache-slabs: 4
    infra-cache-slabs: 4
    key-cache-slabs: 4
    outgoing-range: 8192
    num-queries-per-thread: 4096
    incoming-num-tcp: 100
    do-not-query-localhost: no
    minimal-responses: yes
remote-control:
    control-enable: no
forward-zone:
    name: "."
    forward-addr: 127.0.0.1@%d
`, s.dir, s.port, s.threads, s.upstream)}, []string{"-d", "-c", "unbound.conf"}
}

func dnsdistConfig(s setting) (map[string]string, []string) {
	text := `setSecurityPollSuffix("")
setACL({"127.0.0.0/8"})
setMaxUDPOutstanding(65535)
`
	for range s.threads {
		text += fmt.Sprintf("addLocal(\"127.0.0.1:%d\", {reusePort=true})\n", s.port)
	}
	text += fmt.Sprintf(`newServer({address="127.0.0.1:%d", sockets=8}):setUp()
getPool(""):setCache(newPacketCache(4000000, {maxTTL=86400, numberOfShards=20}))
`, s.upstream)
	return map[string]string{"dnsdist.conf": text},
		[]string{"--supervised", "--disable-syslog", "-C", "dnsdist.conf"}
}

func pdnsConfig(s setting) (map[string]string, []string) {
	return map[string]string{"recursor.conf": fmt.Sprintf(`local-address=127.0.0.1
local-port=%d
socket-dir=%s
forward-zones-recurse=.=127.0.0.1:%d
dont-query=
dnssec=off
threads=%d
pdns-distributes-queries=no
reuseport=yes
max-cache-entries=4000000
max-packetcache-entries=4000000
max-concurrent-requests-per-tcp-connection=100
max-mthreads=4096
quiet=yes
loglevel=0
disable-syslog=yes
daemon=no
security-poll-suffix=
`, s.port, s.dir, s.upstream, s.threads)}, []string{"--config-dir=" + s.dir}
}

// kresdConfig uses policy.FORWARD: what policy.STUB brings is kept for five
// seconds only.
func kresdConfig(s setting) (map[string]string, []string) {
	return map[string]string{"kresd.conf": fmt.Sprintf(`net.listen('127.0.0.1', %d, { kind = 'dns' })
log_level('crit')
trust_anchors.remove('.')
modules.unload('ta_update')
modules.unload('ta_signal_query')
modules.unload('priming')
modules.unload('detect_time_skew')
modules.unload('detect_time_jump')
cache.open(2 * GB, 'lmdb://%s')
policy.add(policy.all(policy.FORWARD('127.0.0.1@%d')))
`, s.port, s.dir, s.upstream)}, []string{"-n", "-q", "-c", "kresd.conf", s.dir}
}

func bindConfig(s setting) (map[string]string, []string) {
	return map[string]string{"named.conf": fmt.Sprintf(`options {
    directory %[1]q;
    pid-file none;
    session-keyfile none;
    listen-on port %[2]d { 127.0.0.1; };
    listen-on-v6 { none; };
    recursion yes;
    allow-query { any; };
    allow-recursion { any; };
    dnssec-validation no;
    empty-zones-enable no;
    minimal-responses yes;
    querylog no;
    max-cache-size 4g;
    recursive-clients 10000;
    forward only;
    forwarders { 127.0.0.1 port %[3]d; };
};
logging { category default { null; }; };
controls { };
`, s.dir, s.port, s.upstream)}, []string{"-f", "-c", filepath.Join(s.dir, "named.conf"), "-n", fmt.Sprint(s.threads)}
}

func dnsmasqConfig(s setting) (map[string]string, []string) {
	return map[string]string{"dnsmasq.conf": fmt.Sprintf(`port=%d
listen-address=127.0.0.1
bind-interfaces
no-resolv
no-hosts
no-poll
server=127.0.0.1#%d
cache-size=2000000
dns-forward-max=10000
user=root
group=root
pid-file=
log-facility=/dev/null
`, s.port, s.upstream)}, []string{"-d", "--conf-file=dnsmasq.conf"}
}

func corednsConfig(s setting) (map[string]string, []string) {
	return map[string]string{"Corefile": fmt.Sprintf(`.:%d {
    bind 127.0.0.1
    cache 86400 {
        success 4000000 86400
        denial 1000000 86400
    }
    forward . 127.0.0.1:%d
}
`, s.port, s.upstream)}, []string{"-quiet", "-conf", "Corefile"}
}
