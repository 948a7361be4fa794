package control

import (
	"bufio"
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
)

// FuzzHandler: whatever is asked, the answer is a status and JSON, or http's own
// refusal of a path or a method.
func FuzzHandler(f *testing.F) {
	seeds := []string{
		"GET /stats HTTP/1.1\r\nHost: mpdnsd\r\n\r\n", "GET /version HTTP/1.0\r\n\r\n",
		"GET /lookup?name=www.example HTTP/1.0\r\n\r\n", "GET /lookup?name=%00 HTTP/1.0\r\n\r\n", "GET /verdicts HTTP/1.0\r\n\r\n", "GET /verdicts?name=%ff HTTP/1.0\r\n\r\n", "GET /verdicts?name=_ HTTP/1.0\r\n\r\n",
		"POST /flush?all=1 HTTP/1.0\r\n\r\n", "POST /flush?zone=.&name=a HTTP/1.0\r\n\r\n", "POST /reload HTTP/1.0\r\n\r\n",
	}
	for _, s := range seeds {
		if _, err := http.ReadRequest(bufio.NewReader(bytes.NewReader([]byte(s)))); err != nil {
			f.Fatalf("seed %q: %v", s, err)
		}
		f.Add([]byte(s))
	}
	h := (&Server{daemon: &fake{}, log: slog.New(slog.DiscardHandler)}).handler()
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Header().Get("Content-Type") == "application/json" && !json.Valid(w.Body.Bytes()) {
			t.Errorf("status %d, body %q", w.Code, w.Body)
		}
		if w.Code == http.StatusInternalServerError {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
	})
}
