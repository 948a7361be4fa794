package mptcp

import (
	"errors"
	"strings"
	"testing"
)

const sampleNetstat = `TcpExt: SyncookiesSent Blackhole
TcpExt: 1 2
IpExt: InNoRoutes
IpExt: 7
MPTcpExt: MPCapableSYNRX MPCapableSYNTXDisabled Blackhole
MPTcpExt: 3 18446744073709551615 0
`

func TestParseMIB(t *testing.T) {
	mib, err := parseMIB(strings.NewReader(sampleNetstat))
	if err != nil || len(mib) != 3 || mib["MPCapableSYNRX"] != 3 || mib[MIBSYNTXDisabled] != 1<<64-1 || mib[MIBBlackhole] != 0 {
		t.Errorf("%v, %v", mib, err)
	}
}

func TestParseMIBErrors(t *testing.T) {
	for name, text := range map[string]string{
		"lengths":      "MPTcpExt: A B\nMPTcpExt: 1\n",
		"not a number": "MPTcpExt: A\nMPTcpExt: x\n",
		"negative":     "MPTcpExt: A\nMPTcpExt: -1\n",
		"long line":    "MPTcpExt: " + strings.Repeat("A ", maxMIBLine),
	} {
		if mib, err := parseMIB(strings.NewReader(text)); err == nil || errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v, %v", name, mib, err)
		}
	}
	for name, text := range map[string]string{"empty": "", "no MPTCP": "TcpExt: A\nTcpExt: 1\n", "half": "MPTcpExt: A\n"} {
		if mib, err := parseMIB(strings.NewReader(text)); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v, %v", name, mib, err)
		}
	}
}

func FuzzParseMIB(f *testing.F) {
	f.Add(sampleNetstat)
	if mib, err := parseMIB(strings.NewReader(sampleNetstat)); err != nil || len(mib) == 0 {
		f.Fatalf("seed: %v, %v", mib, err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		mib, err := parseMIB(strings.NewReader(text))
		if (err == nil) != (mib != nil) {
			t.Errorf("%v, %v", mib, err)
		}
	})
}
