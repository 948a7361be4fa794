package control

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"unicode/utf8"
)

const (
	// MaxVerdicts bounds the verdicts that one request returns.
	MaxVerdicts = 1024
	// maxVerdictName is the longest name asked for, in octets.
	maxVerdictName = 1024
)

// Verdicts is what is remembered of which addresses are one host.
type Verdicts struct {
	Verdicts  []Verdict `json:"verdicts"`  // what was proven first; the last used first
	Truncated bool      `json:"truncated"` // there are more than MaxVerdicts
}

// Verdict is what is remembered of two addresses of a name.
type Verdict struct {
	Name    string `json:"name"`
	A       string `json:"a"`
	B       string `json:"b"`
	Verdict string `json:"verdict"` // "same", "different" or "unknown"
	// UID is the user that said so, for whose programs alone it counts; absent
	// where it was proven.
	UID *uint32 `json:"uid,omitempty"`
	// Outcome is what the verdict rests on, how old that is, and for how long it
	// counts; absent where it is unknown.
	Outcome   string `json:"outcome,omitempty"`
	AgeMS     int64  `json:"age_ms,omitempty"`
	ExpiresMS int64  `json:"expires_ms,omitempty"`
	// Last is what became of the last join, how long ago that was, and for how
	// long none is tried.
	Last      string `json:"last"`
	LastAgeMS int64  `json:"last_age_ms"`
	PauseMS   int64  `json:"pause_ms,omitempty"`
}

// Verdicts asks what is remembered of a name, or with "" of all.
func (c *Client) Verdicts(ctx context.Context, name string) (v Verdicts, err error) {
	query := url.Values{}
	if name != "" {
		query.Set("name", name)
	}
	return v, c.ask(ctx, http.MethodGet, "/verdicts", query, &v)
}

func (s *Server) verdicts(r *http.Request) (any, error) {
	query := r.URL.Query()
	name := query.Get("name")
	if query.Has("name") && name == "" || len(name) > maxVerdictName || !utf8.ValidString(name) {
		return nil, &badRequest{errors.New("want no name, or one of 1 to 1024 octets")}
	}
	return s.daemon.Verdicts(r.Context(), name)
}
