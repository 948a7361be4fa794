// Package control is how mpdnsd is asked about itself while it runs: HTTP/1.1
// with JSON bodies over a unix socket, which `mpdnsd ctl` speaks and curl can
// (curl --unix-socket /run/mpdnsd/control.sock http://mpdnsd/stats).
//
//	GET  /version  GET /stats  GET /upstreams
//	GET  /lookup?name=NAME
//	GET  /verdicts[?name=NAME]
//	POST /flush?all=1 | ?name=NAME | ?zone=NAME
//	POST /reload
//
// Who may write to the socket may do all of it. Its mode says who that is; with
// a mode that is its owner's alone, the client's user is checked too, which
// covers the moment between the socket's making and its mode's.
//
// An error has a status of 4xx or 5xx and the body {"error": TEXT}.
package control

import (
	"context"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// Bounds of what is said over the socket.
const (
	// DefaultPath is where the daemon listens and `mpdnsd ctl` asks.
	DefaultPath = "/run/mpdnsd/control.sock"
	// maxConns bounds the clients at a time; more wait to be accepted.
	maxConns = 16
	// maxHeader and maxBody bound a request, maxReply a reply, in octets.
	maxHeader = 8 << 10
	maxBody   = 4 << 10
	maxReply  = 4 << 20
	// requestTimeout bounds reading a request, answering it and writing the
	// answer, each.
	requestTimeout = 10 * time.Second
	// MaxEntries bounds the cached answers that one look-up returns.
	MaxEntries = 256
)

// Daemon answers the requests. Its methods may be called by several goroutines
// at once, and return when ctx is done.
type Daemon interface {
	Version() Version
	Stats(ctx context.Context) (Stats, error)
	Upstreams(ctx context.Context) (Upstreams, error)
	// Lookup lists what the cache holds of a name, MaxEntries at most.
	Lookup(ctx context.Context, name dnswire.Name) (Held, error)
	// Verdicts lists what is remembered of a name, or with "" of all names,
	// MaxVerdicts at most.
	Verdicts(ctx context.Context, name string) (Verdicts, error)
	Flush(ctx context.Context, s Scope) (Flushed, error)
	// Reload reads configuration and zones again; its error says what is wrong
	// with them.
	Reload(ctx context.Context) error
}

// Version says which program answers.
type Version struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	PID     int    `json:"pid"`
}

// Stats is what the daemon holds and has done since its start.
type Stats struct {
	Version
	Started   time.Time `json:"started"`
	UptimeMS  int64     `json:"uptime_ms"`
	Answered  bool      `json:"answered"` // an upstream server has answered since the last reload
	Listeners []string  `json:"listeners"`
	Zones     int       `json:"zones"`
	Reloads   Reloads   `json:"reloads"`
	Cache     Cache     `json:"cache"`
	UDP       Transport `json:"udp"`
	TCP       Transport `json:"tcp"`
	Clients   Clients   `json:"clients"`
	Routes    []Route   `json:"routes"`
	Process   Process   `json:"process"`
}

// Reloads counts the reloads asked for.
type Reloads struct {
	Done   uint64 `json:"done"`
	Failed uint64 `json:"failed"`
}

// Cache is the cache of answers.
type Cache struct {
	Entries   int    `json:"entries"`
	Octets    int64  `json:"octets"` // memory held
	MaxOctets int64  `json:"max_octets"`
	Hits      uint64 `json:"hits"`
	Stale     uint64 `json:"stale"` // given after their expiry
	Misses    uint64 `json:"misses"`
	Evictions uint64 `json:"evictions"` // unexpired entries given up for room
}

// Transport is the questions that came over one transport.
type Transport struct {
	Queries uint64            `json:"queries"`
	Hits    uint64            `json:"hits"`   // answered by the loop that read them
	Misses  uint64            `json:"misses"` // given to a worker
	RCodes  map[string]uint64 `json:"rcodes"`
	Dropped map[string]uint64 `json:"dropped"` // by reason
	Slipped uint64            `json:"slipped"` // over the rate limit, answered with TC or BADCOOKIE
	Panics  uint64            `json:"panics"`
}

// Clients is what clients occupy.
type Clients struct {
	TCPConnections int    `json:"tcp_connections"` // open now
	TCPRefused     uint64 `json:"tcp_refused"`
	Working        int    `json:"working"` // questions that wait for upstream servers, or that workers have
	Unsent         uint64 `json:"unsent"`  // answers over UDP that the system did not take
}

// Process is the running program.
type Process struct {
	Goroutines  int    `json:"goroutines"`
	HeapOctets  uint64 `json:"heap_octets"`  // of live and not yet swept objects
	TotalOctets uint64 `json:"total_octets"` // that the Go runtime has of the system, less what it gave back
	LimitOctets int64  `json:"limit_octets"` // the soft limit in effect (GOMEMLIMIT)
	OpenFiles   int    `json:"open_files"`   // -1 where the system does not say
	MaxFiles    uint64 `json:"max_files"`    // RLIMIT_NOFILE; 0 where the system does not say
}

// Upstreams is whom the daemon asks.
type Upstreams struct {
	Routes []Route `json:"routes"`
}

// Route is the servers of one zone and what is below it.
type Route struct {
	Zone     string     `json:"zone"` // "." for all that has no route of its own
	Strategy string     `json:"strategy"`
	Servers  []Upstream `json:"servers"`
}

// Upstream is one upstream server.
type Upstream struct {
	Address  string `json:"address"`
	Proto    string `json:"protocol"`
	State    string `json:"state"`     // "unknown", "good", "penalised": of late it did not answer
	RTTUS    int64  `json:"rtt_us"`    // smoothed (RFC 6298); 0 before the first reply
	RTTVarUS int64  `json:"rttvar_us"` // its variation
	Queries  uint64 `json:"queries"`   // since the last reload
	Timeouts uint64 `json:"timeouts"`
	Errors   uint64 `json:"errors"`
}

// Held is what the cache holds of a name.
type Held struct {
	Name      string  `json:"name"`
	Entries   []Entry `json:"entries"`
	Truncated bool    `json:"truncated"` // there are more than MaxEntries
}

// Entry is one cached answer.
type Entry struct {
	Type     string   `json:"type"`
	Class    string   `json:"class"`
	DO       bool     `json:"do"` // asked with DNSSEC records wanted
	CD       bool     `json:"cd"` // asked with checking disabled
	Status   string   `json:"status"`
	AgeMS    int64    `json:"age_ms"`
	TTLMS    int64    `json:"ttl_ms"` // left; negative: expired, and kept for being served stale
	Negative bool     `json:"negative"`
	Failure  bool     `json:"failure"`
	Records  []string `json:"records"` // of the answer section, in presentation form
}

// Scope is what to flush from the cache. The zero value is all of it.
type Scope struct {
	Name  dnswire.Name // this name alone, or, with Below
	Below bool         // what is below it too
}

// Flushed says how many answers were forgotten.
type Flushed struct {
	Entries int `json:"entries"`
}
