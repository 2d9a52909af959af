package ledger

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

// FuzzUnpack unpacks ConfigMaps that anybody in the Ledger's namespace can write. What is accepted writes only below
// the directory of records, and packs again into the same records.
func FuzzUnpack(f *testing.F) {
	for _, seed := range []string{
		`{"version":1,"records":[{"path":"records/shop/a.yaml","content":"eA=="}]}`,
		`{"version":1,"records":[{"path":"records/../cluster.yaml"}]}`,
		`{"version":1,"records":[{"path":"records/a"},{"path":"records/a"},null]}`,
		`{"version":1}`, `{"version":2}`, `[`, `null`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var data bytes.Buffer
		if err := compress(&data, raw); err != nil {
			t.Fatal(err)
		}
		records, err := Unpack(data.Bytes())
		if err != nil {
			if !errors.Is(err, ErrParcel) {
				t.Errorf("%v", err)
			}
			return
		}
		for _, r := range records {
			if !strings.HasPrefix(r.Path, "records/") || strings.Contains("/"+r.Path+"/", "/../") {
				t.Errorf("it would write %q", r.Path)
			}
		}
		parcels, err := Pack("ledger", records)
		if err != nil {
			t.Fatal(err)
		}
		var again []Record
		for _, p := range parcels {
			some, err := Unpack(p.Data)
			if err != nil {
				t.Fatalf("what was packed can't be unpacked: %v", err)
			}
			again = append(again, some...)
		}
		paths := map[string]bool{}
		for _, r := range records {
			paths[r.Path] = true
		}
		if len(again) != len(paths) {
			t.Errorf("%d paths became %d records", len(paths), len(again))
		}
	})
}

// FuzzUnpackBytes unpacks bytes that need not be compressed.
func FuzzUnpackBytes(f *testing.F) {
	var data bytes.Buffer
	_ = compress(&data, []byte(`{"version":1}`))
	f.Add(data.Bytes())
	f.Add(data.Bytes()[:data.Len()-4])
	f.Add([]byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := Unpack(data); err != nil && !errors.Is(err, ErrParcel) {
			t.Errorf("%v", err)
		}
	})
}

// FuzzMessages reads messages of commits, which whoever can push has written. What it finds makes no line of its own
// in a message of ours.
func FuzzMessages(f *testing.F) {
	f.Add("shop: 1 succeeded\n\nBackupSession shop/a Succeeded\n\nCairn-Cluster: eu\n" +
		"Cairn-Policy-Revision: main@sha1:1\n")
	f.Add("x\n\nBackupSession shop/a\u2028Cairn-Cluster: other Failed (Cairn-Cluster: x)\n")
	f.Add("\r\n\x00")
	f.Fuzz(func(t *testing.T, message string) {
		c, ours := ParseMessage(message)
		if !ours {
			return
		}
		again, ours := ParseMessage(CommitMessage(c.Cluster, c.Objects))
		if !ours || again.Cluster != oneLine(c.Cluster) {
			t.Errorf("cluster %q became %q", c.Cluster, again.Cluster)
		}
		if len(again.Objects) > len(c.Objects) || len(again.Revisions) > len(c.Revisions) {
			t.Errorf("%d objects became %d, %d revisions %d", len(c.Objects), len(again.Objects), len(c.Revisions),
				len(again.Revisions))
		}
	})
}

// FuzzRetire changes a page that somebody else can have written, and changes a page that is retired no more than by
// its time.
func FuzzRetire(f *testing.F) {
	since := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	f.Add(Page("eu", nil, time.Hour), "eu")
	f.Add([]byte("# Backups of eu"), "eu\n# x")
	f.Add([]byte(lateFrom), "")
	f.Fuzz(func(t *testing.T, page []byte, cluster string) {
		out := Retire(page, cluster, since, "branch main")
		if len(out) > len(page)+8*len(cluster)+1000 {
			t.Errorf("%d bytes became %d", len(page), len(out))
		}
		first, _, _ := bytes.Cut(out, []byte("\n"))
		if !bytes.HasPrefix(first, []byte("# Backups of ")) {
			t.Errorf("the first line is %q", first)
		}
		if bytes.Count(out, []byte("\n")) > bytes.Count(page, []byte("\n"))+1 {
			t.Errorf("cluster %q makes lines: %q", cluster, out)
		}
	})
}

// FuzzCluster reads cluster.yaml of a branch. What it reads it can write again.
func FuzzCluster(f *testing.F) {
	f.Add([]byte("name: eu\nuid: 1-2\n"))
	f.Add([]byte("name: &a eu\nuid: *a\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := ParseCluster(raw)
		if err != nil {
			return
		}
		b, err := c.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseCluster(b); err != nil || again != c {
			t.Errorf("%+v became %+v: %v", c, again, err)
		}
	})
}
