package mpdnsd

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/control"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/verdicts"
)

// pathVerdicts is the memory of the broker: what was proven, for all programs,
// and what each user's programs say, for that user.
type pathVerdicts struct{ store *verdicts.Store }

// stateEnv is the folder that the service manager gives (systemd.exec(5)), or
// several with colons between them.
const stateEnv = "STATE_DIRECTORY"

// openVerdicts makes the memory of verdicts, with what an earlier run has left.
func (d *daemon) openVerdicts(set *setup) error {
	c := verdicts.Config{File: set.config.Verdicts.File, Redis: set.config.Verdicts.Redis, Log: d.log}
	if dir, _, _ := strings.Cut(os.Getenv(stateEnv), ":"); c.File == "" && dir != "" {
		c.File = filepath.Join(dir, "verdicts")
	}
	store, err := verdicts.Open(c)
	if err != nil {
		return err
	}
	d.verdicts = &pathVerdicts{store}
	return nil
}

// Record is [broker.Memory].Record.
func (v *pathVerdicts) Record(f broker.Finding) {
	name, outcome := verdicts.Name(f.Name), outcomeOf(f.Outcome)
	if f.Proven {
		v.store.Prove(name, netip.AddrPortFrom(f.First, f.Port), f.Addr, outcome, f.Time)
		return
	}
	v.store.Hint(f.UID, name, f.First, f.Addr, outcome, f.Time)
}

// Withdraw is [broker.Memory].Withdraw.
func (v *pathVerdicts) Withdraw(f broker.Finding) bool {
	return v.store.Withdraw(verdicts.Name(f.Name), netip.AddrPortFrom(f.First, f.Port), f.Addr, f.Time)
}

// LookUp is [broker.Memory].LookUp: the later of a proof and of what the user's
// programs say, who may have met that an address has changed hands. Of an outcome that
// says nothing of the host, but puts the next try off, they are told that long. What
// other machines know is asked for where there is no proof, and told next time.
func (v *pathVerdicts) LookUp(name string, first, addr netip.Addr, uid uint32) (broker.Finding, bool) {
	dialled := name
	name = verdicts.Name(dialled)
	proof, proven := lookUpIn(v.store.Memory(), name, first, addr)
	if !proven {
		v.store.Fetch(name, []netip.Addr{first, addr})
	}
	if m := v.store.Hints(uid); m != nil {
		if hint, ok := lookUpIn(m, name, first, addr); ok && (!proven || hint.Time.After(proof.Time)) {
			hint.Name, hint.UID = dialled, uid
			return hint, true
		}
	}
	proof.Name, proof.Proven = dialled, proven
	return proof, proven
}

// lookUpIn asks one memory: a verdict comes before an outcome that has none and puts
// the next try off.
func lookUpIn(m *hostid.Memory, name string, first, addr netip.Addr) (broker.Finding, bool) {
	r, ok := m.RememberedPair(name, first, addr, time.Now())
	if !ok {
		return broker.Finding{}, false
	}
	f := broker.Finding{First: first, Addr: addr, Outcome: findingOf(r.Last), Time: r.Settled}
	if r.Proof != hostid.NotTried {
		f.Outcome, f.Time = findingOf(r.Proof), r.Proven
	}
	return f, true
}

// remembered lists what is kept of a name, or with "" of all names: what was proven
// first, then each user's hints; at most limit pairs, and whether there are more.
func (v *pathVerdicts) remembered(name string, now time.Time, limit int) (all []control.Verdict, more bool) {
	add := func(m *hostid.Memory, uid *uint32) {
		for _, r := range m.Remembered(name, now, limit+1-len(all)) {
			all = append(all, verdictView(r, uid, now))
		}
	}
	add(v.store.Memory(), nil)
	for _, uid := range v.store.Users() {
		if m := v.store.Hints(uid); m != nil { // they may be forgotten meanwhile
			add(m, &uid)
		}
	}
	return all[:min(len(all), limit)], len(all) > limit
}

// verdictView is a pair as the control socket shows it.
func verdictView(r hostid.Remembered, uid *uint32, now time.Time) control.Verdict {
	v := control.Verdict{
		Name: r.Name, A: r.A.String(), B: r.B.String(), UID: uid, Verdict: r.Verdict().String(),
		Last: r.Last.String(), LastAgeMS: now.Sub(r.Settled).Milliseconds(), PauseMS: max(0, r.Resumes.Sub(now).Milliseconds()),
	}
	if r.Proof != hostid.NotTried {
		v.Outcome, v.AgeMS, v.ExpiresMS = r.Proof.String(), now.Sub(r.Proven).Milliseconds(), r.Expires.Sub(now).Milliseconds()
	}
	return v
}

// outcomes are hostid's outcomes by the broker's.
func outcomes() []hostid.Outcome {
	return []hostid.Outcome{
		broker.Joined: hostid.Joined, broker.LimitReached: hostid.LimitReached, broker.Announced: hostid.Announced,
		broker.OtherHost: hostid.OtherHost, broker.Refused: hostid.Refused, broker.ClosedPort: hostid.ClosedPort,
		broker.NotMPTCP: hostid.NotMPTCP, broker.TimedOut: hostid.TimedOut, broker.Unreachable: hostid.Unreachable,
	}
}

// outcomeOf is the broker's outcome in the terms of hostid; NotTried of one that is
// not known here.
func outcomeOf(o broker.Outcome) hostid.Outcome {
	if all := outcomes(); int(o) < len(all) {
		return all[o]
	}
	return hostid.NotTried
}

// findingOf is an outcome in the broker's terms; zero of one that it has no word for.
func findingOf(o hostid.Outcome) broker.Outcome {
	return broker.Outcome(max(slices.Index(outcomes(), o), 0)) //nolint:gosec // there are few
}
