package resolver_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/resolver"
)

func TestAnswerJSON(t *testing.T) {
	six, four := result("AAAA", time.Minute, "2001:db8::1", "::1"), result("A", 0)
	six.Elapsed, six.Tries = 1500*time.Microsecond, 1
	four.Err = &resolver.Error{Name: "www.example", Type: "A", Kind: resolver.ErrNoData}
	a := resolver.Merge("www.example", 0, []resolver.FamilyResult{six, four}, resolver.MergeOptions{Now: mergeTime})
	want := `{"name":"www.example","canonical":"www.example.","record":["[2001:db8::1]:0"],` +
		`"families":[{"type":"AAAA","name":"www.example.","addresses":["2001:db8::1","::1"],"ttl":60,"server":"192.0.2.53:53","protocol":"udp","elapsed_ms":1.5,"tries":1,"cached":false,"authenticated":false},` +
		`{"type":"A","name":"www.example.","addresses":[],"ttl":0,"server":"192.0.2.53:53","protocol":"udp","elapsed_ms":0,"tries":0,"cached":false,"authenticated":false,` +
		`"error":{"kind":"no records of this type","message":"www.example: A: no records of this type"}}],` +
		`"dropped":[{"address":"::1","why":"loopback address"}],"expires":"2026-01-02T03:05:05Z","reasons":["in the order of the answer"],"hosts":[{"addresses":["[2001:db8::1]:0"],"verdict":"unknown","why":["the only address"]}]}`
	got, err := json.Marshal(a)
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
}

func TestRecordsJSON(t *testing.T) {
	got, err := json.Marshal(resolver.Records{Name: "example", Type: "MX", TTL: resolver.Forever, RRs: []resolver.Record{{"example.", "MX", 60, "10 mx."}}})
	want := `{"name":"example","type":"MX","records":[{"name":"example.","type":"MX","ttl":60,"data":"10 mx."}],"elapsed_ms":0,"tries":0,"cached":false,"authenticated":false}`
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
}
