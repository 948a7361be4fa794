package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// clientTimeout bounds one request as its client sees it.
const clientTimeout = 3 * requestTimeout

// Client asks a daemon. Its methods return a *RefusedError where the daemon
// answered and would not, any other error where it could not be asked.
type Client struct {
	http http.Client
	path string
}

// NewClient asks at the socket path. It connects at the first request.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	return &Client{
		path: path,
		http: http.Client{
			Timeout:   clientTimeout,
			Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader},
		},
	}
}

// RefusedError is the daemon's own word that it did not do what was asked.
type RefusedError struct{ Text string }

// Error is what the daemon said.
func (e *RefusedError) Error() string { return e.Text }

// Version asks which program answers.
func (c *Client) Version(ctx context.Context) (v Version, err error) {
	return v, c.ask(ctx, http.MethodGet, "/version", nil, &v)
}

// Stats asks for the figures.
func (c *Client) Stats(ctx context.Context) (s Stats, err error) {
	return s, c.ask(ctx, http.MethodGet, "/stats", nil, &s)
}

// Upstreams asks whom the daemon asks.
func (c *Client) Upstreams(ctx context.Context) (u Upstreams, err error) {
	return u, c.ask(ctx, http.MethodGet, "/upstreams", nil, &u)
}

// Lookup asks what the cache holds of a name.
func (c *Client) Lookup(ctx context.Context, name string) (h Held, err error) {
	return h, c.ask(ctx, http.MethodGet, "/lookup", url.Values{"name": {name}}, &h)
}

// FlushAll has the daemon forget all cached answers.
func (c *Client) FlushAll(ctx context.Context) (f Flushed, err error) {
	return f, c.ask(ctx, http.MethodPost, "/flush", url.Values{"all": {"1"}}, &f)
}

// FlushName has it forget those of one name.
func (c *Client) FlushName(ctx context.Context, name string) (f Flushed, err error) {
	return f, c.ask(ctx, http.MethodPost, "/flush", url.Values{"name": {name}}, &f)
}

// FlushZone has it forget those of a name and of all that is below it.
func (c *Client) FlushZone(ctx context.Context, zone string) (f Flushed, err error) {
	return f, c.ask(ctx, http.MethodPost, "/flush", url.Values{"zone": {zone}}, &f)
}

// Reload has the daemon read its configuration and zones again.
func (c *Client) Reload(ctx context.Context) error {
	return c.ask(ctx, http.MethodPost, "/reload", nil, new(struct{}))
}

// ask makes one request and reads the reply into out.
func (c *Client) ask(ctx context.Context, method, path string, query url.Values, out any) error {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	u := url.URL{Scheme: "http", Host: "mpdnsd", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), http.NoBody)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.reason(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return fmt.Errorf("asking the daemon at %s: %w", c.path, err)
	}
	return c.read(resp.StatusCode, body, out)
}

// read takes a reply apart.
func (c *Client) read(status int, body []byte, out any) error {
	if status == http.StatusOK {
		if err := json.Unmarshal(body, out); err != nil {
			return fmt.Errorf("asking the daemon at %s: its reply is no JSON: %w", c.path, err)
		}
		return nil
	}
	var f failureBody
	if err := json.Unmarshal(body, &f); err != nil || f.Error == "" {
		return fmt.Errorf("asking the daemon at %s: status %d: %.200q; is it of another version?", c.path, status, body)
	}
	return &RefusedError{f.Error}
}

// reason is an error of package http without the URL, which is not one that
// anybody has typed.
func (c *Client) reason(err error) error {
	if ue := (*url.Error)(nil); errors.As(err, &ue) {
		err = ue.Err
	}
	if oe := (*net.OpError)(nil); errors.As(err, &oe) {
		err = oe.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("asking the daemon at %s: no reply within %v", c.path, clientTimeout.Round(time.Second))
	}
	return fmt.Errorf("asking the daemon at %s: %w", c.path, err)
}
