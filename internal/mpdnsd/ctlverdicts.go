package mpdnsd

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/af-multipath/mpresolve/internal/mpdnsd/control"
)

func ctlVerdicts(c *ctl) *cobra.Command {
	return &cobra.Command{
		Use: "verdicts [NAME]", Short: "Show which addresses are known to be one host, or not", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := strings.Join(args, "")
			if len(args) == 1 && name == "" {
				return errors.New("ctl verdicts: the name is empty")
			}
			known, err := control.NewClient(c.socket).Verdicts(cmd.Context(), name)
			if err != nil {
				return ctlFailed(err)
			}
			if len(known.Verdicts) == 0 && !c.json {
				return &ctlError{exitError, fmt.Errorf("nothing is remembered%s", ofName(name))}
			}
			return show(c, cmd, known, writeVerdicts)
		},
	}
}

func ofName(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf(" of %q", name)
}

// writeVerdicts writes a line for each pair, below a line for each name.
func writeVerdicts(w io.Writer, v control.Verdicts) {
	width := 0
	for _, k := range v.Verdicts {
		width = max(width, len(k.A), len(k.B))
	}
	name := ""
	for i, k := range v.Verdicts {
		if i == 0 || k.Name != name {
			name = k.Name
			fmt.Fprintf(w, "%s\n", printable(name))
		}
		fmt.Fprintf(w, "  %-*s  %-*s  %-9s  %s\n", width, k.A, width, k.B, k.Verdict, verdictReason(k))
	}
	if v.Truncated {
		fmt.Fprintf(w, "\nthere are more than %d\n", control.MaxVerdicts)
	}
}

// verdictReason is what a verdict rests on, and what came after.
func verdictReason(k control.Verdict) string {
	var parts []string
	if k.Outcome != "" {
		parts = append(parts, fmt.Sprintf("%s, age %s, expires in %s", k.Outcome, duration(k.AgeMS), duration(k.ExpiresMS)))
	}
	if k.Last != k.Outcome || k.LastAgeMS != k.AgeMS {
		parts = append(parts, fmt.Sprintf("last %s, age %s", k.Last, duration(k.LastAgeMS)))
	}
	if k.PauseMS > 0 {
		parts = append(parts, "not tried for "+duration(k.PauseMS))
	}
	if k.UID != nil {
		parts = append(parts, fmt.Sprintf("says uid %d", *k.UID))
	}
	return strings.Join(parts, "; ")
}

// printable is a name, which a client gave, without what a terminal obeys.
func printable(name string) string {
	if name == "" {
		return "(addresses without a name)" // as dialer.Connect has them
	}
	if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}
