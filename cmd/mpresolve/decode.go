package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/af-multipath/mpresolve/mpaddr"
)

// layoutAuto takes the layout that the octets parse in; draft when they parse in
// none, so that the error is that of the default layout.
const layoutAuto = "auto"

// maxDecodeOctets bounds what decode reads from standard input; the longest
// record that any layout can express is shorter.
const maxDecodeOctets = 1 << 20

// decodeView is what decode prints, as JSON or as text.
type decodeView struct {
	Layout    string      `json:"layout"`
	Octets    int         `json:"octets"`
	Addresses mpaddr.Addr `json:"addresses"`
	Fields    []fieldView `json:"fields"`
	Error     string      `json:"error,omitempty"`
	Offset    *int        `json:"offset,omitempty"`
}

// fieldView is one field of a record.
type fieldView struct {
	Offset int    `json:"offset"`
	Octets string `json:"octets"`
	Name   string `json:"name"`
	Value  string `json:"value"`
}

func (a *app) decodeCommand() *cobra.Command {
	var layout string
	cmd := &cobra.Command{
		Use:   "decode [flags] HEX|-",
		Short: "Decode an AF_MULTIPATH record",
		Long: `Decodes an AF_MULTIPATH record given in hexadecimal, as an argument or on
standard input (-). Blanks, colons and line ends between the digits are allowed, and
so is the generic form of an unknown DNS record (RFC 3597: \# LENGTH HEX), which is
how dig prints TYPE65400.

Exit codes: 0 decoded, 1 malformed (with the offset), 2 usage.`,
		Example: `  mpresolve decode '13 27 01 10 02 01bb c0000201 0000000000000000'
  dig +short TYPE65400 www.example.net @127.0.0.1 | mpresolve decode -`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.decode(layout, args) },
	}
	cmd.Flags().StringVar(&layout, "layout", layoutAuto, "layout of the octets: auto, draft, wide, linux")
	return cmd
}

func (a *app) decode(layoutName string, args []string) error {
	var layout mpaddr.Layout
	if layoutName != layoutAuto {
		var err error
		if layout, err = mpaddr.ParseLayout(layoutName); err != nil {
			return usageError("--layout: %w", err)
		}
	}
	text := strings.Join(args, " ")
	if text == "-" {
		input, err := io.ReadAll(io.LimitReader(a.stdin, maxDecodeOctets))
		if err != nil {
			return &exitError{code: exitFailed, err: fmt.Errorf("reading standard input: %w", err)}
		}
		text = string(input)
	}
	for i, record := range splitRecords(text) {
		octets, err := parseHex(record)
		if err != nil {
			return &exitError{code: exitNotFound, err: fmt.Errorf("decode: %w", err)}
		}
		if i > 0 && !a.json {
			fmt.Fprintln(a.stdout)
		}
		codec := mpaddr.Codec{Layout: layout}
		if detected, ok := codec.Detect(octets); ok && layoutName == layoutAuto {
			codec = detected
		}
		if err := a.decodeOne(codec, octets); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) decodeOne(codec mpaddr.Codec, octets []byte) error {
	view := decodeView{Layout: codec.Layout.String(), Octets: len(octets)}
	set, err := codec.Parse(octets)
	view.Addresses = set
	view.Fields = fieldViews(codec, octets)
	if err != nil {
		view.Error = err.Error()
		var syntax *mpaddr.SyntaxError
		if errors.As(err, &syntax) {
			view.Offset = &syntax.Offset
		}
	}
	if a.json {
		if jsonErr := json.NewEncoder(a.stdout).Encode(view); jsonErr != nil {
			return &exitError{code: exitFailed, err: jsonErr}
		}
	} else {
		fmt.Fprintf(a.stdout, "AF_MULTIPATH record, %s layout, %d octets\n", view.Layout, view.Octets)
		writeFields(a.stdout, view.Fields)
	}
	if err != nil {
		return &exitError{code: exitNotFound, err: fmt.Errorf("decode: %w", err)}
	}
	return nil
}

// fieldViews names the fields as far as the record can be read.
func fieldViews(codec mpaddr.Codec, octets []byte) []fieldView {
	fields, _ := codec.Fields(octets)
	views := make([]fieldView, 0, len(fields))
	for _, f := range fields {
		views = append(views, fieldView{f.Offset, hex.EncodeToString(octets[f.Offset : f.Offset+f.Len]), f.Name, f.Value})
	}
	return views
}

// writeFields prints a field a line: offset, octets, name, value.
func writeFields(w io.Writer, fields []fieldView) {
	for _, f := range fields {
		fmt.Fprintf(w, "  %4d  %-32s  %-12s %s\n", f.Offset, f.Octets, f.Name, f.Value)
	}
}

// splitRecords separates several records in RFC 3597 form, one a line, as dig
// +short prints them; any other text is one record.
func splitRecords(text string) []string {
	var records []string
	for line := range strings.Lines(text) {
		if i := strings.Index(line, `\#`); i >= 0 {
			records = append(records, line[i:])
		} else if n := len(records); n > 0 {
			records[n-1] += line
		}
	}
	if records == nil {
		return []string{text}
	}
	return records
}

// parseHex reads hexadecimal digits with blanks or colons between them, or the
// generic encoding of RFC 3597 section 5.
func parseHex(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	declared := -1
	if rest, ok := strings.CutPrefix(text, `\#`); ok {
		if _, err := fmt.Sscan(rest, &declared); err != nil || declared < 0 {
			return nil, errors.New(`after \# a length in octets is expected (RFC 3597)`)
		}
		_, text, _ = strings.Cut(strings.TrimSpace(rest), " ")
	}
	digits := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || r == ':' || r == '(' || r == ')' {
			return -1
		}
		return r
	}, strings.TrimPrefix(text, "0x"))
	octets, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("not hexadecimal: %w", err)
	}
	if declared >= 0 && declared != len(octets) {
		return nil, fmt.Errorf(`\# declares %d octets, %d follow`, declared, len(octets))
	}
	return octets, nil
}
