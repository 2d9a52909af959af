package poison

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Server serves the pack over HTTP, as a Git repository whose branches all are at its last commit. It returns the URL.
func (p *Pack) Server(t testing.TB, branches ...string) string {
	t.Helper()
	file := p.finish()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		service := r.URL.Query().Get("service")
		switch {
		case strings.HasSuffix(r.URL.Path, "/info/refs"):
			w.Header().Set("Content-Type", "application/x-"+service+"-advertisement")
			_, _ = fmt.Fprint(w, line("# service="+service+"\n"), "0000")
			capabilities := "\x00report-status ofs-delta"
			for _, b := range branches {
				_, _ = fmt.Fprint(w, line(p.tip+" refs/heads/"+b+capabilities+"\n"))
				capabilities = ""
			}
			_, _ = fmt.Fprint(w, "0000")
		case strings.HasSuffix(r.URL.Path, "/git-upload-pack"):
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			_, _ = fmt.Fprint(w, line("NAK\n"))
			if info, err := file.Stat(); err == nil {
				_, _ = io.Copy(w, io.NewSectionReader(file, 0, info.Size()))
			}
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL + "/repo.git"
}

func line(text string) string { return fmt.Sprintf("%04x%s", len(text)+4, text) }
