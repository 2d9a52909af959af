package ledger

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/cairn-backup/cairn/api/v1alpha1"
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

// A proxy before the server takes pushes of one record. One record is too large even alone, until somebody raises the
// limit.
func TestAPushTooLargeForAProxyIsHalved(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger", func(l *v1alpha1.Ledger) { l.Spec.BatchWindow = metav1.Duration{Duration: time.Hour} })
	w.settle(l)
	sized := func(name string, size int) *v1alpha1.BackupSession {
		return w.session(name, func(s *v1alpha1.BackupSession) {
			s.Status.Conditions = []metav1.Condition{{
				Type: "Partial", Status: metav1.ConditionTrue, Reason: "Test", Message: rand.String(size),
				LastTransitionTime: metav1.NewTime(w.clock.Now().Truncate(time.Second)),
			}}
		})
	}
	large := sized("large", 32000)
	small := []*v1alpha1.BackupSession{}
	for i := range 7 {
		small = append(small, sized(fmt.Sprint("small-", i), 6000))
	}
	w.limit = 12000
	w.pass(2 * time.Hour)
	g.Expect(w.collect()).Error().NotTo(HaveOccurred())
	for range 20 {
		result, err := w.push(l)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(result.RequeueAfter).To(BeNumerically(">", 0))
		if len(w.files("clusters/production/records")) == len(small) {
			break
		}
		g.Expect(result.RequeueAfter).To(BeNumerically("<", time.Minute), "neither the window nor failures hold it up")
		w.pass(result.RequeueAfter)
	}
	g.Expect(w.files("clusters/production/records")).To(HaveLen(len(small)))
	w.pass(time.Minute)
	g.Expect(w.push(l)).Error().NotTo(HaveOccurred())
	g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonPushRefused))
	g.Expect(l.Status.Recorded).To(BeEquivalentTo(len(small)))
	g.Expect(get(w, large).Status.Records).To(BeEmpty())
	commits := map[string]bool{}
	for _, s := range small {
		g.Expect(get(w, s).Status.Records).To(HaveLen(1))
		commit := s.Status.Records[0].Commit
		g.Expect(w.git("show", "--format=", "--name-only", commit)).To(ContainSubstring(w.path(s)))
		commits[commit] = true
	}
	g.Expect(len(commits)).To(BeNumerically(">=", 4))

	w.limit = 0
	w.settle(l)
	g.Expect(get(w, large).Status.Records).To(HaveLen(1))
	g.Expect(get(w, l).Status.Recorded).To(BeEquivalentTo(len(small) + 1))
	g.Expect(l.Status.Counted).To(BeEmpty())
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
