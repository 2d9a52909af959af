package ledger

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// The server took a push whose reply never came. Whoever finds the records in the branch counts them: the same process
// or the next one, with or without the directory.
func TestLostReplyIsCounted(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]func(*WithT, *world){
		"by the same process": func(*WithT, *world) {},
		"by the next":         func(_ *WithT, w *world) { w.restart() },
		"by the next, the directory is lost": func(g *WithT, w *world) {
			w.restart()
			g.Expect(os.RemoveAll(w.data)).To(Succeed())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			l := w.ledger("ledger")
			w.settle(l)
			w.session("a")
			w.session("b")
			w.loseReply = true
			w.pass(11 * time.Second)
			_, err := w.collect()
			g.Expect(err).NotTo(HaveOccurred())
			_, err = w.push(l)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(get(w, l).Status.Recorded).To(BeZero())
			g.Expect(w.files("clusters/production/records")).To(HaveLen(2), "the branch has the records")
			w.loseReply = false
			w.silent.Store(false)
			after(g, w)
			w.session("c")
			w.settle(l)
			g.Expect(get(w, l).Status.Recorded).To(BeEquivalentTo(3))
			w.session("d")
			w.settle(l)
			g.Expect(get(w, l).Status.Recorded).To(BeEquivalentTo(4))
			g.Expect(l.Status.Counted).To(BeEmpty())
		})
	}
}

// lost serves a push, withholds the reply and stops answering.
func (w *world) lost(next http.Handler, r *http.Request) {
	next.ServeHTTP(httptest.NewRecorder(), r)
	w.silent.Store(true)
	panic(http.ErrAbortHandler)
}

func isPush(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/git-receive-pack")
}
