package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/af-multipath/mpresolve/mpaddr"
)

// writeShort prints one address a line, in dial order.
func writeShort(w io.Writer, view lookupView) {
	for _, a := range view.Addresses {
		fmt.Fprintln(w, a.Address)
	}
	for _, records := range view.Records {
		for _, rr := range records.Records {
			fmt.Fprintln(w, rr.Data)
		}
	}
}

// writeLookup prints the record with everything that is known of it.
func writeLookup(w io.Writer, view lookupView, st style) {
	if len(view.Addresses) > 0 {
		writeHeadline(w, view, st)
		writeAddresses(w, view, st)
	}
	writeQueries(w, view, st)
	writeHosts(w, view)
	for _, d := range view.Dropped {
		fmt.Fprintf(w, "  %-5s %s: %s\n", "left", d.Address, d.Why)
	}
	writeRecords(w, view)
	writeProbe(w, view.Probe, st)
}

func writeHeadline(w io.Writer, view lookupView, st style) {
	ttl := "does not expire"
	if view.TTL != nil {
		ttl = fmt.Sprintf("ttl %d s", *view.TTL)
	}
	fmt.Fprintf(w, "%s  AF_MULTIPATH  %s, %s  %s\n\n",
		st.paint(st.bold, view.Name), count(len(view.Addresses), "address", "addresses"), hostSummary(view.Hosts), ttl)
}

// hostSummary says how many hosts the name stands for and how sure that is.
func hostSummary(hosts []hostView) string {
	if len(hosts) == 1 {
		return "1 host (" + hosts[0].Verdict + ")"
	}
	return fmt.Sprintf("%d hosts", len(hosts))
}

func writeAddresses(w io.Writer, view lookupView, st style) {
	width := len("address")
	for _, a := range view.Addresses {
		width = max(width, len(a.Address))
	}
	fmt.Fprintln(w, st.paint(st.dim, fmt.Sprintf("  #  %-*s  why here", width, "address")))
	for i, a := range view.Addresses {
		line := fmt.Sprintf("  %-2d %-*s  %s", i+1, width, a.Address, a.Why)
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
	fmt.Fprintln(w)
}

func writeQueries(w io.Writer, view lookupView, st style) {
	result, took := 0, 0
	for _, q := range view.Queries {
		result, took = max(result, len(queryResult(q))), max(took, len(queryTime(q)))
	}
	for _, q := range view.Queries {
		line := fmt.Sprintf("  %-5s %-*s  %*s  %s %s", q.Type, result, queryResult(q), took, queryTime(q), q.Protocol, q.Server)
		if name := cmp.Or(q.Target, view.Name); len(q.Chain) > 0 || q.Target != "" {
			line += "  " + strings.Join(trimDots(append([]string{name}, q.Chain...)), " -> ")
		}
		line = strings.TrimRight(line, " ")
		if q.Status != "ok" && q.Status != "no records" {
			line = st.paint(st.warn, line)
		}
		fmt.Fprintln(w, line)
		for _, service := range q.Services {
			fmt.Fprintf(w, "        %s\n", service)
		}
	}
}

func queryResult(q queryView) string {
	if q.Status != "ok" {
		text := q.Status
		if q.Tries > 1 {
			text += fmt.Sprintf(" after %d tries", q.Tries)
		}
		return text
	}
	if len(q.Services) > 0 {
		return count(len(q.Services), "record", "records")
	}
	return count(len(q.Addresses), "record", "records")
}

func queryTime(q queryView) string {
	if q.Cached {
		return "cached"
	}
	return fmt.Sprintf("%.1f ms", q.ElapsedMS)
}

// maxHostReasons is how many reasons are shown of each of several hosts; --explain
// has the others.
const maxHostReasons = 2

// writeHosts prints one line for each host: its addresses by their numbers, where
// there are several hosts, how sure that is, and what decides.
func writeHosts(w io.Writer, view lookupView) {
	for i, h := range view.Hosts {
		text := strings.Join(h.Why, "; ")
		if len(view.Hosts) > 1 {
			text = fmt.Sprintf("%d: %s, %s: %s", i+1, addressNumbers(view, h), h.Verdict, strings.Join(h.Why[:min(len(h.Why), maxHostReasons)], "; "))
		}
		if text != "" {
			fmt.Fprintf(w, "  %-5s %s\n", "host", text)
		}
	}
}

// addressNumbers are the places of a host's addresses in dial order: "#1 #3".
func addressNumbers(view lookupView, h hostView) string {
	var numbers []string
	for i, a := range view.Addresses {
		if slices.Contains(h.Addresses, withoutPort(a.Address)) {
			numbers = append(numbers, fmt.Sprintf("#%d", i+1))
		}
	}
	return strings.Join(numbers, " ")
}

func writeRecords(w io.Writer, view lookupView) {
	for _, records := range view.Records {
		fmt.Fprintln(w)
		if records.Error != "" {
			fmt.Fprintf(w, "  %s: %s\n", records.Type, records.Error)
		}
		for _, rr := range records.Records {
			fmt.Fprintf(w, "  %s  %d  %s  %s\n", rr.Name, rr.TTL, rr.Type, rr.Data)
		}
	}
}

// writeRecordHex prints the octets of the record, with the fields named.
func writeRecordHex(w io.Writer, view lookupView) {
	codec := mpaddr.Codec{}
	octets, err := codec.Append(nil, view.set)
	if err != nil {
		fmt.Fprintf(w, "  no octets: %v\n", err)
		return
	}
	fmt.Fprintf(w, "  AF_MULTIPATH record, draft layout, %d octets\n", len(octets))
	writeFields(w, fieldViews(codec, octets))
}

func trimDots(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.TrimSuffix(n, ".")
	}
	return out
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
