package retention_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
)

// noon is when the Snapshots of these tests are judged.
var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// ofConfiguration returns a good Snapshot that was made so many hours before noon, in a session "backup" of this
// BackupConfiguration. Nobody knows the empty one.
func ofConfiguration(configuration string, hours int, labels map[string]string) *v1alpha1.Snapshot {
	made := metav1.NewTime(noon.Add(-time.Duration(hours) * time.Hour))
	s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{
		Name: fmt.Sprintf("%s-%02d", configuration, hours), CreationTimestamp: made, Labels: map[string]string{},
	}}
	if configuration != "" {
		s.Labels[v1alpha1.LabelConfiguration] = configuration
	}
	maps.Copy(s.Labels, labels)
	s.Spec.Repository, s.Spec.Session, s.Spec.BackupSession = "uploads", "backup", s.Name
	s.Status.Phase, s.Status.SnapshotTime = v1alpha1.SnapshotSucceeded, &made
	return s
}

// BackupConfigurations that share a Repository can give their sessions one name: one backs up everything each night,
// and one a directory each hour.
func TestASessionOfAnotherConfigurationTakesNoPlace(t *testing.T) {
	t.Parallel()
	series := func(configuration string, labels map[string]string, hours ...int) (out []*v1alpha1.Snapshot) {
		for _, h := range hours {
			out = append(out, ofConfiguration(configuration, h, labels))
		}
		return out
	}
	batch := map[string]string{
		v1alpha1.LabelInvokerKind: v1alpha1.BackupBatchKind, v1alpha1.LabelInvokerName: "shop",
	}
	alone := map[string]string{
		v1alpha1.LabelInvokerKind: v1alpha1.BackupConfigurationKind, v1alpha1.LabelInvokerName: "shop-web",
	}
	const directory, everything = "directory", "everything"
	for name, tt := range map[string]struct {
		snapshots [][]*v1alpha1.Snapshot
		want      []string
	}{
		"one configuration": {
			[][]*v1alpha1.Snapshot{series(directory, nil, 1, 2, 3)},
			[]string{"directory-01: newest success, last", "directory-02: last"},
		},
		"two of which each has a session of this name": {
			[][]*v1alpha1.Snapshot{series(directory, nil, 1, 2, 3), series(everything, nil, 10, 34, 58)},
			[]string{
				"directory-01: newest success (of session backup of BackupConfiguration directory), last",
				"directory-02: last",
				"everything-10: newest success (of session backup of BackupConfiguration everything), last",
				"everything-34: last",
			},
		},
		"a target of a batch alone, and with the batch": {
			[][]*v1alpha1.Snapshot{series("shop-web", batch, 2, 26), series("shop-web", alone, 1)},
			[]string{"shop-web-01: newest success, last", "shop-web-02: last, newest whole restore point"},
		},
		"nobody knows the configuration, and newer ones have its place": {
			[][]*v1alpha1.Snapshot{series(directory, nil, 1, 2, 3), series("", nil, 10, 34)},
			[]string{
				"directory-01: newest success (of session backup of BackupConfiguration directory), last",
				"directory-02: last",
			},
		},
		"nobody knows that of the newest": {
			[][]*v1alpha1.Snapshot{series("", nil, 1, 2, 3), series(directory, nil, 10, 34, 58)},
			[]string{
				"-01: newest success (of session backup), last", "-02: last",
				"directory-10: newest success (of session backup of BackupConfiguration directory), last",
				"directory-34: last",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var input []retention.Snapshot
			for _, of := range tt.snapshots {
				for _, s := range of {
					input = append(input, retention.FromSnapshot(s, ""))
				}
			}
			p := retention.Policy{Rules: []retention.Rule{{Name: "last", Count: 2}}, Zone: time.UTC}
			var stay []string
			for _, v := range p.Decide(input, noon) {
				if !v.Goes() {
					var rules []string
					for _, k := range v.Kept {
						rules = append(rules, k.String())
					}
					stay = append(stay, v.Name+": "+strings.Join(rules, ", "))
				}
			}
			NewWithT(t).Expect(stay).To(Equal(tt.want))
		})
	}
}
