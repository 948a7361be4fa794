package zone

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/af-multipath/mpresolve/testdata/zones"
)

// head is what every small zone of these tests begins with: two lines.
const head = "@ 300 SOA ns hostmaster 1 2 3 4 60\n@ 300 NS ns\n"

// parse loads a zone from its text.
func parse(text string) (*Zone, error) {
	return LoadFS(fstest.MapFS{"example.zone": {Data: []byte(text)}}, "example.zone", "")
}

func TestLoadShared(t *testing.T) {
	files, err := fs.Glob(zones.FS, "*.zone")
	if err != nil || len(files) < 4 {
		t.Fatalf("zone files: %v, %v", files, err)
	}
	for _, file := range files {
		z, err := LoadFS(zones.FS, file, "")
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if want := strings.TrimSuffix(file, "zone"); z.Origin().String() != want {
			t.Errorf("%s: origin %v", file, z.Origin())
		}
	}
}

func TestLoadErrors(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string // each in the error's text
	}{
		{"syntax", head + "\nwww A 192.0.2.300\n", []string{"example.zone:4:", "bad A A", "192.0.2.300"}},
		{"unknown type", head + "www FOO 1\n", []string{"example.zone:3:"}},
		{"no soa", "@ 300 NS ns\n", []string{"example.zone: no SOA record"}},
		{"empty", "", []string{"example.zone: no SOA record"}},
		{"second soa", head + head, []string{"example.zone:3: example.: a second SOA"}},
		{"soa below", head + "a SOA ns h 1 2 3 4 5\n", []string{"example.zone:3: a.example.: a SOA record below"}},
		{"outside", head + "www.example.net. A 192.0.2.1\n", []string{"example.zone:3: www.example.net. is not in the zone example."}},
		{"cname and other", head + "a CNAME b\na A 192.0.2.1\nc A 192.0.2.1\nc CNAME a", []string{"example.zone:4: a.example.: CNAME beside", "example.zone:6: c.example.: CNAME beside"}},
		{"two cnames", head + "a CNAME b\na CNAME c\n", []string{"example.zone:4: a.example.: a second CNAME"}},
		{"class", head + "a CH TXT x\n", []string{"example.zone:3: a.example.: class CH"}},
		{"all at once", head + "a CNAME b\na A 192.0.2.1\n\nb.net. A 192.0.2.1\nc A (\n 1.2.3 )\n", []string{":4: ", ":6: ", "example.zone:8:"}},
		{"generate too long", head + "$GENERATE 0-70000 a$ A 192.0.2.1\n", []string{"example.zone:3:", "bad range"}},
		{"generate bad data", head + "$GENERATE 1-2 a$ A 192.0.2.${a}\n", []string{"example.zone:3:"}},
		{"rrset too large", head + "$GENERATE 1-6000 a TXT $\n", []string{"example.zone:3: a.example.: more than 5000 TXT records"}},
		{"include missing", head + "$INCLUDE nothing.inc\n", []string{"example.zone:3:", "nothing.inc", "not exist"}},
		{"include itself", head + "$INCLUDE example.zone\n", []string{"too deeply nested"}},
		{"line after lines in brackets", "@ 300 SOA ns h (\n 1 ; a\n 2 ; b\n 3 ; c\n 4 ; d\n 5 )\n@ NS ns\na CNAME b\na CNAME c", []string{"example.zone:9: a.example."}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse(tt.text)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in: %v", want, err)
				}
			}
		})
	}
}

// TestIncludePlace checks that errors in an included file name that file, and
// those after it the first file again.
func TestIncludePlace(t *testing.T) {
	_, err := LoadFS(fstest.MapFS{
		"example.zone": {Data: []byte(head + "$INCLUDE sub/a.inc\nd CNAME e\nd CNAME f\n")},
		"sub/a.inc":    {Data: []byte("a CNAME b\n\na CNAME c\n$INCLUDE b.inc\n")},
		"sub/b.inc":    {Data: []byte("g CNAME b\ng CNAME c")},
	}, "example.zone", "")
	if err == nil {
		t.Fatal("no error")
	}
	want := "sub/a.inc:3: a.example.: a second CNAME record\n" +
		"sub/b.inc:2: g.example.: a second CNAME record\n" +
		"example.zone:5: d.example.: a second CNAME record"
	if filepath.ToSlash(err.Error()) != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

// TestIncludeConfined checks that nothing outside the zone file's folder can
// be read: by .., by an absolute name, by a symbolic link, or as a non-file.
func TestIncludeConfined(t *testing.T) {
	dir := t.TempDir()
	inside := filepath.Join(dir, "zones")
	if err := errors.Join(
		os.Mkdir(inside, 0o755),
		os.Mkdir(filepath.Join(inside, "sub"), 0o755),
		os.WriteFile(filepath.Join(dir, "secret"), []byte("secret A 192.0.2.99\n"), 0o600),
		os.WriteFile(filepath.Join(inside, "ok.inc"), []byte("ok A 192.0.2.1\n"), 0o600),
		os.WriteFile(filepath.Join(inside, "sub", "ok.inc"), []byte("ok2 A 192.0.2.1\n"), 0o600),
		os.Symlink(filepath.Join("..", "secret"), filepath.Join(inside, "link")),
	); err != nil {
		t.Skipf("preparing files: %v", err) // symbolic links need a privilege on Windows
	}
	tests := []struct{ include, want string }{
		{"ok.inc", ""},
		{"sub/ok.inc", ""},
		{"sub/../ok.inc", ""},
		{"../secret", "outside the zone file's folder"},
		{"sub/../../secret", "outside the zone file's folder"},
		{filepath.Join(dir, "secret"), "no such file"},
		{"link", "outside the zone file's folder"},
		{"sub", "not a regular file"},
	}
	for _, tt := range tests {
		t.Run(tt.include, func(t *testing.T) {
			file := filepath.Join(inside, "example.zone")
			if err := os.WriteFile(file, []byte(head+"$INCLUDE "+tt.include+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Load(file, "")
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), file+":3:") {
				t.Errorf("error %v, want %q at %s:3", err, tt.want, file)
			}
		})
	}
}

func TestIncludeBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(head)
	for range maxIncludes + 1 {
		b.WriteString("$INCLUDE a.inc\n")
	}
	_, err := LoadFS(fstest.MapFS{"example.zone": {Data: []byte(b.String())}, "a.inc": {}}, "example.zone", "")
	if err == nil || !strings.Contains(err.Error(), "files included") {
		t.Errorf("error %v", err)
	}
}

func TestLoadOrigin(t *testing.T) {
	fsys := fstest.MapFS{
		"plain":        {Data: []byte(head)},
		"other.zone":   {Data: []byte("$ORIGIN example.net.\n" + head)},
		"example.zone": {Data: []byte(head)},
	}
	tests := []struct{ file, origin, want string }{
		{"example.zone", "", "example."},
		{"example.zone", "Example.ORG", "example.org."},
		{"plain", "example.org.", "example.org."},
		{"other.zone", "", "example.net."},
	}
	for _, tt := range tests {
		z, err := LoadFS(fsys, tt.file, tt.origin)
		if err != nil || z.Origin().String() != tt.want {
			t.Errorf("%s as %q: %v, %v; want %s", tt.file, tt.origin, z, err, tt.want)
		}
	}
	if _, err := LoadFS(fsys, "other.zone", "example.org"); err == nil {
		t.Error("a zone whose records are of another origin was taken")
	}
	for _, missing := range []string{"nothing.zone", "../x"} {
		if _, err := LoadFS(fsys, missing, ""); err == nil {
			t.Errorf("%s was read", missing)
		}
	}
}

func TestRRset(t *testing.T) {
	z, err := parse(head + "a 300 A 192.0.2.1\na 60 A 192.0.2.2\na 300 A 192.0.2.1\n")
	if err != nil {
		t.Fatal(err)
	}
	got := z.Answer(name(t, "a.example."), 1).Answer
	if len(got) != 2 || got[0].Header().Ttl != 60 || got[1].Header().Ttl != 60 {
		t.Errorf("RRset %v: want two records of TTL 60 (RFC 2181 sections 5, 5.2)", got)
	}
}
