package retention

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
)

// large is a batch with more Repositories than a label selector names. Its restore point a goes, and b stays.
type large struct {
	*WithT
	t    *testing.T
	r    *Reconciler
	live client.Client
	read *countingReader
	// elapsed is the stopwatch, and server the time of the API server.
	elapsed time.Duration
	server  time.Time
}

const repositories = maxSelected + 11

func newLarge(t *testing.T) *large {
	g := NewWithT(t)
	l := &large{WithT: g, t: t, server: time.Date(2026, 11, 27, 3, 0, 0, 0, time.UTC)}
	var all []*v1alpha1.Snapshot
	for i := range repositories {
		all = append(all, snapshotOf(l.name(i), "a"), snapshotOf(l.name(i), "b"))
	}
	l.live = liveClient(g, all...)
	l.read = &countingReader{Reader: l.live}
	l.r = &Reconciler{
		Client: l.live, APIReader: l.read, Stopwatch: func() time.Duration { return l.elapsed },
	}
	return l
}

func (l *large) name(i int) string { return fmt.Sprintf("db%02d", i) }

// get reads a Snapshot.
func (l *large) get(i int, point string) *v1alpha1.Snapshot {
	s, key := &v1alpha1.Snapshot{}, client.ObjectKey{Namespace: "shop", Name: l.name(i) + "-" + point}
	l.Expect(l.live.Get(l.t.Context(), key, s)).To(Succeed())
	return s
}

// change changes a Snapshot.
func (l *large) change(i int, point string, change func(*v1alpha1.Snapshot)) {
	s := l.get(i, point)
	change(s)
	l.Expect(l.live.Update(l.t.Context(), s)).To(Succeed())
}

// decide returns what a Repository decides by what the cache has now.
func (l *large) decide(i int) *state {
	s := &state{
		repository: &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: l.name(i)}},
		snapshots:  map[string]*v1alpha1.Snapshot{}, leaving: map[string]bool{},
	}
	for k := range repositories {
		if k != i {
			s.siblings = append(s.siblings, l.name(k))
		}
	}
	var all v1alpha1.SnapshotList
	l.Expect(l.live.List(l.t.Context(), &all)).To(Succeed())
	for k := range all.Items {
		is := &all.Items[k]
		if !is.DeletionTimestamp.IsZero() {
			continue
		}
		s.decided = append(s.decided, is)
		v := retention.Verdict{Snapshot: retention.FromSnapshot(is, "")}
		if v.Point == "b" {
			v.Kept = []retention.Keep{{Rule: retention.KeepNewest}}
		}
		if is.Spec.Repository == l.name(i) {
			s.snapshots[is.Name], s.verdicts = is, append(s.verdicts, v)
		} else if v.Goes() {
			s.leaving[is.Name] = true
		}
	}
	return s
}

// confirms reports whether a Repository finds that its decision holds.
func (l *large) confirms(s *state) bool {
	err := l.r.confirmSnapshots(l.t.Context(), s, l.server)
	if !apierrors.IsConflict(err) {
		l.Expect(err).NotTo(HaveOccurred())
	}
	return err == nil
}

// Each of them removes its part of the restore point, and one of them is not as far as that yet.
func TestTheRepositoriesOfALargeBatchShareAList(t *testing.T) {
	t.Parallel()
	l := newLarge(t)
	late := l.decide(repositories - 1)
	for i := range repositories - 1 {
		l.Expect(l.confirms(l.decide(i))).To(BeTrue())
		l.change(i, "a", marked)
		l.Expect(l.confirms(l.decide(repositories-1))).To(BeTrue(), "a sibling has marked its part")
		l.Expect(l.live.Delete(t.Context(), l.get(i, "a"))).To(Succeed())
		if i%2 == 0 { // its data is gone
			l.change(i, "a", func(s *v1alpha1.Snapshot) { s.Finalizers = nil })
		}
	}
	l.Expect(l.confirms(late)).To(BeTrue(), "the cache lacks all that")
	l.Expect(l.read.lists).To(Equal(1))
	l.Expect(l.read.gets).To(BeNumerically("<", 4*repositories))
}

// What has changed since the list that they share.
func TestWhatASharedListDoesNotHide(t *testing.T) {
	t.Parallel()
	paused := func(s *v1alpha1.Snapshot) { s.Spec.Paused, s.Generation = true, s.Generation+1 }
	damaged := func(s *v1alpha1.Snapshot) { s.Status.Integrity = new(false) }
	for name, c := range map[string]struct {
		stale   func(l *large) // the cache lacks it
		known   func(l *large) // the cache has it
		elapsed time.Duration
		server  time.Duration
		lists   int
		behind  bool
	}{
		"nothing": {elapsed: recentFor, server: recentFor, lists: 1},
		"a sibling's is paused, and the cache lacks that for long": {
			stale:   func(l *large) { l.change(0, "a", paused) },
			elapsed: recentFor + time.Millisecond, server: recentFor, lists: 2, behind: true,
		},
		"a sibling's is paused, and the machine has stood still": {
			stale:  func(l *large) { l.change(0, "a", paused) },
			server: time.Hour, lists: 2, behind: true,
		},
		"a sibling's is paused, and marked in the cache": {
			known: func(l *large) { l.change(0, "a", marked) },
			stale: func(l *large) { l.change(0, "a", paused) }, lists: 2, behind: true,
		},
		"our newest was found damaged": {
			stale: func(l *large) { l.change(1, "b", damaged) }, lists: 2, behind: true,
		},
		"our newest is gone": {
			stale: func(l *large) {
				l.Expect(l.live.Delete(l.t.Context(), l.get(1, "b"))).To(Succeed())
				l.change(1, "b", func(s *v1alpha1.Snapshot) { s.Finalizers = nil })
			}, lists: 2, behind: true,
		},
		"a sibling's was found damaged, and the cache knows": {
			known: func(l *large) { l.change(0, "b", damaged) }, lists: 2,
		},
		"a sibling's was found damaged, then whole": {
			known: func(l *large) { l.change(0, "b", damaged) },
			stale: func(l *large) {
				l.change(0, "b", func(s *v1alpha1.Snapshot) { s.Status.Integrity = new(true) })
			}, lists: 2, behind: true,
		},
		"a new one, and the cache knows": {known: func(l *large) {
			l.Expect(l.live.Create(l.t.Context(), snapshotOf(l.name(0), "c"))).To(Succeed())
		}, lists: 1},
		"a sibling's that stays is deleted, and the cache knows": {known: func(l *large) {
			l.Expect(l.live.Delete(l.t.Context(), l.get(0, "b"))).To(Succeed())
		}, lists: 1},
		"a sibling's was made again": {
			stale: func(l *large) {
				s := l.get(0, "a")
				l.Expect(l.live.Delete(l.t.Context(), s)).To(Succeed())
				l.change(0, "a", func(s *v1alpha1.Snapshot) { s.Finalizers = nil })
				s.UID, s.ResourceVersion = "2", ""
				l.Expect(l.live.Create(l.t.Context(), s)).To(Succeed())
			}, elapsed: 2 * recentFor, lists: 2, behind: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLarge(t)
			l.Expect(l.confirms(l.decide(0))).To(BeTrue())
			if c.known != nil {
				c.known(l)
			}
			s := l.decide(1)
			if c.stale != nil {
				c.stale(l)
			}
			l.elapsed, l.server = l.elapsed+c.elapsed, l.server.Add(c.server)
			l.Expect(l.confirms(s)).To(Equal(!c.behind))
			l.Expect(l.read.lists).To(Equal(c.lists))
		})
	}
}

// A list of a large namespace takes a hundred megabytes, and the next large batch can be a day away.
func TestARecentListGoesByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		var lists recentLists
		lists.keep("shop", &listed{})
		time.Sleep(recentFor - time.Second)
		lists.keep("team", &listed{})
		time.Sleep(time.Second)
		synctest.Wait()
		g.Expect(lists.byNamespace).To(HaveLen(1))
		g.Expect(lists.byNamespace).To(HaveKey("team"))
	})
}
