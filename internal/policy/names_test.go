package policy

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/util/validation"
)

var slot = time.Unix(1795154820, 0)

func TestNames(t *testing.T) {
	long := strings.Repeat("long-name-", 30)
	tests := map[string]struct{ got, want string }{
		"a run": {BackupSessionName("shop", "hourly", slot), "shop-hourly-1795154820"},
		"a run whose name is in use": {
			QualifiedBackupSessionName("BackupBatch", "shop", "shop", "hourly", slot), "shop-hourly-" +
				hash("BackupBatch", "shop", "shop", "hourly") + "-1795154820",
		},
		"a Snapshot": {
			SnapshotName("shop-web", "shop-hourly-1795154820"), "shop-web-shop-hourly-1795154820",
		},
		"a child": {ChildName("shop", "web"), "shop-web"},
		"the CronJob of a configuration": {
			CronJobName("BackupConfiguration", "uploads", "nightly"), "trigger-uploads-nightly",
		},
		"the CronJob of a batch": {
			CronJobName("BackupBatch", "shop", "hourly"), "trigger-backupbatch-shop-hourly",
		},
		"a Job": {
			JobName("backup", "snap", "pod-0"), "backup-snap-pod-0-" + hash("snap", "pod-0"),
		},
		"a label value that fits":   {LabelValue("shop"), "shop"},
		"a label value that is cut": {LabelValue(long), long[:54] + "-" + hash(long)},
		"a child that is cut after a dash": {
			ChildName(long, "web"), strings.TrimRight(long[:54], "-") + "-" + hash(long, "web"),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(test.got).To(Equal(test.want))
		})
	}
}

// Long names are cut. They still differ where their parts differ, and are valid and short enough.
func TestLongNamesStayUniqueAndValid(t *testing.T) {
	g := NewWithT(t)
	makers := map[string]struct {
		limit int
		name  func(a, b string) string
	}{
		"BackupSession": {maxLabelValue, func(a, b string) string { return BackupSessionName(a, b, slot) }},
		"qualified BackupSession": {
			maxLabelValue, func(a, b string) string {
				return QualifiedBackupSessionName("BackupBatch", "ns", a, b,
					slot)
			},
		},
		"child": {maxLabelValue, ChildName},
		"CronJob": {
			maxJobName, func(a, b string) string { return CronJobName("BackupConfiguration", a, b) },
		},
		"batch's CronJob": {maxJobName, func(a, b string) string { return CronJobName("BackupBatch", a, b) }},
		"Job":             {maxJobName, func(a, b string) string { return JobName("backup", a, b) }},
		"Snapshot":        {maxObjectName, SnapshotName},
	}
	for kind, maker := range makers {
		seen := map[string]string{}
		for _, length := range []int{20, 40, 50, 51, 52, 53, 54, 60, 63, 100, 120} {
			for _, last := range []string{"a", "b", "c"} {
				stem := strings.Repeat("x", length-2) + "-"
				for _, parts := range [][2]string{{stem + last, "t"}, {"t", stem + last}, {stem + last, stem + last}} {
					name := maker.name(parts[0], parts[1])
					g.Expect(len(name)).To(BeNumerically("<=", maker.limit), "%s %s", kind, name)
					g.Expect(validation.IsDNS1123Subdomain(name)).To(BeEmpty(), "%s %s", kind, name)
					of := strings.Join(parts[:], " ")
					g.Expect(seen).NotTo(HaveKey(name), "%s of %q and %q", kind, of, seen[name])
					seen[name] = of
				}
			}
		}
	}
}

func TestJobNamesTellTheirPartsApart(t *testing.T) {
	g := NewWithT(t)
	g.Expect(JobName("backup", "a", "b-c")).NotTo(Equal(JobName("backup", "a-b", "c")))
	g.Expect(strings.HasPrefix(JobName("backup", "a", "b"), JobName("backup", "a")+"-")).To(BeFalse(),
		"no Job's name is a prefix of another's")
}
