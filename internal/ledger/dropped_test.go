package ledger

import (
	"errors"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestADroppedNamespaceIsNoticedOnce(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 12, 0, 0, 500, time.UTC)
	since := metav1.NewTime(now.Truncate(time.Second))
	states := map[string]Recorded{"shop": RecordedStill, "blog": RecordedNot, "old": RecordedGone}
	state := func(name string) (Recorded, error) { return states[name], nil }
	before := metav1.NewTime(now.Add(-time.Hour).Truncate(time.Second))
	for name, tt := range map[string]struct {
		names       []string
		dropped     []v1alpha1.DroppedNamespace
		found       []string
		wantNames   []string
		wantDropped []v1alpha1.DroppedNamespace
		fresh       []string
	}{
		"nothing was recorded":  {found: []string{"shop"}, wantNames: []string{"shop"}},
		"it is recorded still":  {names: []string{"shop"}, wantNames: []string{"shop"}},
		"it is gone":            {names: []string{"old", "shop"}, wantNames: []string{"shop"}},
		"it never was recorded": {},
		"it is dropped": {
			names: []string{"blog", "shop"}, wantNames: []string{"shop"}, fresh: []string{"blog"},
			wantDropped: []v1alpha1.DroppedNamespace{{Name: "blog", Since: since}},
		},
		"it was dropped before": {
			dropped:     []v1alpha1.DroppedNamespace{{Name: "blog", Since: before}},
			wantDropped: []v1alpha1.DroppedNamespace{{Name: "blog", Since: before}},
		},
		"it was dropped and is gone": {dropped: []v1alpha1.DroppedNamespace{{Name: "old", Since: before}}},
		"it is recorded again": {
			dropped: []v1alpha1.DroppedNamespace{{Name: "shop", Since: before}}, wantNames: []string{"shop"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			s := &v1alpha1.LedgerStatus{Namespaces: tt.names, Dropped: tt.dropped}
			fresh, err := Notice(s, tt.found, state, now)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(fresh).To(Equal(tt.fresh))
			g.Expect(s.Namespaces).To(HaveExactElements(toAny(tt.wantNames)...))
			g.Expect(s.Dropped).To(Equal(tt.wantDropped))
		})
	}

	t.Run("what can't be read changes nothing", func(t *testing.T) {
		t.Parallel()
		g, wrong := NewWithT(t), errors.New("no answer")
		s := &v1alpha1.LedgerStatus{Namespaces: []string{"shop"}}
		_, err := Notice(s, nil, func(string) (Recorded, error) { return "", wrong }, now)
		g.Expect(err).To(MatchError(wrong))
		g.Expect(s.Namespaces).To(Equal([]string{"shop"}))
	})
	t.Run("a cluster with many", func(t *testing.T) {
		t.Parallel()
		g, s := NewWithT(t), &v1alpha1.LedgerStatus{}
		var found []string
		for i := range 1200 {
			found = append(found, fmt.Sprintf("ns-%04d", i))
		}
		all := func(is Recorded) func(string) (Recorded, error) {
			return func(string) (Recorded, error) { return is, nil }
		}
		g.Expect(Notice(s, found, all(RecordedStill), now)).Error().NotTo(HaveOccurred())
		g.Expect(s.Namespaces).To(HaveLen(1000))
		g.Expect(Notice(s, nil, all(RecordedNot), now)).Error().NotTo(HaveOccurred())
		g.Expect(s.Dropped).To(HaveLen(100))
		g.Expect(NamesOf(s.Dropped)).To(And(HavePrefix("ns-0000, ns-0001, "), HaveSuffix("ns-0009 and others")))
	})
}

func toAny(in []string) (out []any) {
	for _, s := range in {
		out = append(out, s)
	}
	return out
}

func TestThePageNamesWhatIsNotRecordedAnyMore(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	page := Page("production", []Policy{{Namespace: "shop", Kind: "BackupBatch", Name: "shop"}}, time.Hour)
	g.Expect(SayDropped(page, nil)).To(Equal(page))
	since := metav1.NewTime(time.Date(2026, 11, 30, 12, 5, 0, 0, time.UTC))
	said := string(SayDropped(page, []v1alpha1.DroppedNamespace{{Name: "blog", Since: since}}))
	g.Expect(said).To(HavePrefix("# Backups of production\n\n" + kept))
	g.Expect(said).To(ContainSubstring(
		"\n\n**Not recorded any more:** blog (since 2026-11-30 12:05).\n\n## shop\n"))
	g.Expect(string(Retire([]byte(said), "production", since.Time, ""))).To(ContainSubstring("No longer kept since"))
}
