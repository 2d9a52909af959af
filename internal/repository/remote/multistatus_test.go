package remote_test

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/remote"
)

// entry is what a server says of a file.
func entry(href, status string) string {
	return "<d:response><d:href>" + href + "</d:href><d:propstat><d:prop><d:getcontentlength>3</d:getcontentlength>" +
		"<d:resourcetype/></d:prop><d:status>HTTP/1.1 " + status + "</d:status></d:propstat></d:response>"
}

const (
	ok         = "200 OK"
	head       = `<?xml version="1.0" encoding="utf-8"?><d:multistatus xmlns:d="DAV:">`
	tail       = "</d:multistatus>"
	collection = "<d:response><d:href>/data/</d:href><d:propstat><d:prop><d:resourcetype><d:collection/>" +
		"</d:resourcetype></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>"
)

// davServer is a server that answers with a list for its collection. If announced is longer than the list, the
// connection ends in its middle.
func davServer(t *testing.T, list string, announced int) remote.Tree {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Depth") == "0" && r.URL.Path == "/" {
			w.WriteHeader(http.StatusMultiStatus)
			_, _ = fmt.Fprint(w, head+collection+tail)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(max(announced, len(list))))
		w.WriteHeader(http.StatusMultiStatus)
		_, _ = fmt.Fprint(w, list)
	}))
	t.Cleanup(server.Close)
	tree, err := remote.Open(repository.Storage{WebDAV: &repository.WebDAV{URL: server.URL, Egress: egress.Anywhere()}})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = tree.Close() })
	return tree
}

func TestAListThatIsNotWholeIsNoList(t *testing.T) {
	two := head + collection + entry("/data/a", ok) + entry("/data/b", ok)
	for name, c := range map[string]struct {
		list      string
		announced int
		want      error
	}{
		"the connection ends between two entries": {list: two, announced: 1 << 20, want: repository.ErrUnreachable},
		"the connection ends in an entry": {
			list: two[:len(two)-20], announced: 1 << 20, want: repository.ErrUnreachable,
		},
		"the list ends between two entries": {list: two, want: repository.ErrUnreachable},
		"the list ends in an entry":         {list: two[:len(two)-20], want: repository.ErrUnreachable},
		"nothing":                           {want: repository.ErrUnreachable},
		"no entry":                          {list: head + tail, want: repository.ErrUnreachable},
		"a page of a proxy":                 {list: "<html>Bad luck</html>", want: repository.ErrUnreachable},
		"an entry that can't be read": {
			list: two + "<d:response><d:href>&bad;</d:href></d:response>" + tail, want: repository.ErrUnreachable,
		},
		"two lists": {list: two + tail + two + tail, want: repository.ErrUnreachable},
		"an entry that may not be looked at": {
			list: two + entry("/data/c", "403 Forbidden") + tail, want: repository.ErrAccessDenied,
		},
		"an entry that can't be looked at now": {
			list: two + entry("/data/c", "503 Service Unavailable") + tail, want: repository.ErrUnreachable,
		},
		"an entry without a status": {
			list: two + "<d:response><d:href>/data/c</d:href></d:response>" + tail, want: repository.ErrUnreachable,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, ctx, tree := NewWithT(t), t.Context(), davServer(t, c.list, c.announced)
			_, err := tree.List(ctx, "data")
			g.Expect(err).To(MatchError(c.want))
			_, err = tree.Stat(ctx, "data")
			g.Expect(err).To(And(MatchError(c.want), Not(MatchError(fs.ErrNotExist))))
		})
	}
}

func TestAWholeListIsUsed(t *testing.T) {
	g, ctx := NewWithT(t), t.Context()
	tree := davServer(t, head+collection+entry("/data/a", ok)+entry("/data/gone", "404 Not Found")+
		entry("/data/b", ok)+tail+"\n<!-- by a proxy -->\n", 0)
	found, err := tree.List(ctx, "data")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(found).To(HaveLen(2), "what is gone in the meantime is not there")
	_, err = davServer(t, head+entry("/data", "404 Not Found")+tail, 0).Stat(ctx, "data")
	g.Expect(err).To(MatchError(fs.ErrNotExist))
}

// TestAListThatBeginsWithAnotherDirectoryIsRefused: the client would leave that one out.
func TestAListThatBeginsWithAnotherDirectoryIsRefused(t *testing.T) {
	sub := strings.ReplaceAll(collection, "/data/", "/data/sub/")
	_, err := davServer(t, head+sub+collection+tail, 0).List(t.Context(), "data")
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("does not begin with the directory")))
}
