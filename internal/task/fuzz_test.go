package task

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/text"
)

// FuzzReadPage reads the text of a page as if a mover had written it. Whatever it says is in bounds before the manager
// puts it into a status, and a Snapshot that is read can be written into a page again.
func FuzzReadPage(f *testing.F) {
	for _, seed := range []string{
		`{"name":"a","uid":"u","components":{"data":{"phase":"Succeeded","id":"k1"}},"total":1}` + "\n",
		`{"name":"a","components":{"x":null,"y":{}},"total":-7}` + "\n{}\n",
		`{"components":{"data":{"duration":"` + string(bytes.Repeat([]byte("1h"), 100)) + `","sizeBytes":-1}}}` + "\n",
		"null\n", "{", "\n\n", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		var page bytes.Buffer
		zip := gzip.NewWriter(&page)
		_, _ = zip.Write(content)
		_ = zip.Close()
		lines := 0
		err := ReadPage(page.Bytes(), func(found Found) error {
			lines++
			if found.Total < 0 || len(found.Components) > maxComponents {
				t.Errorf("%d components, in all %d", len(found.Components), found.Total)
			}
			for _, c := range found.Components {
				checkBounds(t, Reported(c, v1alpha1.DriverKopia))
			}
			w := PageWriter{Write: func(int, []byte) error { return nil }}
			if err := w.Add(found); err != nil {
				t.Errorf("a Snapshot of a page can't be written: %v", err)
			}
			_, _, err := w.Close()
			return err
		})
		if err != nil && !errors.Is(err, ErrPage) {
			t.Errorf("%v", err)
		}
		if most := bytes.Count(content, []byte("\n")); lines > most {
			t.Errorf("%d Snapshots in %d lines", lines, most)
		}
	})
}

// FuzzReadPageBytes reads bytes that need not be a compressed text.
func FuzzReadPageBytes(f *testing.F) {
	f.Add([]byte("\x1f\x8b\x08"))
	f.Add([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\xab\xae\xe5\x02\x00\x06\xb0\xa1\xdd\x03\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, page []byte) {
		err := ReadPage(page, func(Found) error { return nil })
		if err != nil && !errors.Is(err, ErrPage) {
			t.Errorf("%v", err)
		}
	})
}

// FuzzResult reads what a mover left as the message of its end. It goes into the status of objects, so it is in bounds,
// and EncodeResult can write it again.
func FuzzResult(f *testing.F) {
	for _, seed := range []string{
		`{"version":1,"outcome":"Succeeded","components":[{"name":"data","outcome":"Succeeded","id":"k1"}]}`,
		`{"version":1,"outcome":"Failed","reason":"no reason","message":"\u0000\ud800","components":[{}]}`,
		`{"version":1,"outcome":"Failed","components":[{"size":-1,"damaged":[-1,4],"start":"0000-01-01T00:00:00Z",
			"unmatched":["a","` + string(bytes.Repeat([]byte("b"), 500)) + `"],"scan":{"pages":1000000}}]}`,
		`{"version":2}`, `[]`, ``,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, message string) {
		r, err := DecodeResult(message)
		if err != nil {
			return
		}
		if r.Reason != "" && !IsReason(r.Reason) || !utf8.ValidString(r.Message) || len(r.Message) > text.MaxMessage {
			t.Errorf("reason %q, message %q", r.Reason, r.Message)
		}
		for _, c := range r.Components {
			checkBounds(t, c.Component(v1alpha1.DriverKopia))
			if c.Scan != nil && (c.Scan.Pages < 0 || c.Scan.Pages > MaxPages) {
				t.Errorf("a scan of %d pages", c.Scan.Pages)
			}
			if _, err := json.Marshal(c.Restored()); err != nil {
				t.Errorf("%v", err)
			}
		}
		b, err := EncodeResult(*r)
		if err != nil || len(b) > MaxResultBytes {
			t.Errorf("encoded again, it has %d bytes: %v", len(b), err)
		}
		if _, err := DecodeResult(string(b)); err != nil {
			t.Errorf("it can't be decoded again: %v", err)
		}
	})
}

// checkBounds reports what the API server would refuse of a component, or what is no text.
func checkBounds(t *testing.T, c v1alpha1.Component) {
	t.Helper()
	if len(c.ID) > maxID || len(c.Duration) > maxDuration || len(c.Error) > text.MaxMessage ||
		!utf8.ValidString(c.Error) || c.SizeBytes < 0 || c.UploadedBytes < 0 || c.Files < 0 ||
		c.Reason != "" && !IsReason(c.Reason) {
		t.Errorf("%+v", c)
	}
	if _, err := json.Marshal(c); err != nil {
		t.Errorf("it can't be written into a status: %v", err)
	}
}

// FuzzDecode reads a task as a mover does. What it accepts has only names that lead nowhere else.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version":1,"kind":"keep","keep":{}}`))
	f.Add([]byte(`{"version":1,"kind":"keep","storage":{"prefix":"../x"}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, kind := range []Kind{KindKeep, KindBackup, KindRestore, KindInitRepository, KindInitStorage} {
			task, err := Decode(content, kind)
			if err == nil && (task.Kind != kind || task.Version != Version) {
				t.Errorf("as %s: %+v", kind, task)
			}
		}
	})
}
