package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli"
	"github.com/cairn-backup/cairn/internal/cli/command"
)

// explainAt runs "cairn retention explain" at a time.
func explainAt(t testing.TB, now time.Time, args ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	code := cli.Run(t.Context(), command.Options{
		IOStreams: genericiooptions.IOStreams{In: new(bytes.Buffer), Out: &out, ErrOut: &errOut},
		Program:   "cairn", Clock: clocktesting.NewFakePassiveClock(now), Width: 100,
	}, append(append([]string{"retention", "explain"}, args...), "--kubeconfig", bed.Kubeconfig))
	return result{code, out.String(), errOut.String()}
}

func TestRetentionExplain(t *testing.T) {
	g := NewWithT(t)
	ns := namespace(t, "keeping")
	load(t, "testdata/retention.yaml", ns)
	// A running Snapshot has no time of its own yet. Its creation is shown, which is now.
	var running v1alpha1.Snapshot
	key := types.NamespacedName{Namespace: ns, Name: "web-5"}
	g.Expect(bed.Client.Get(t.Context(), key, &running)).To(Succeed())
	g.Expect(bed.Client.Delete(t.Context(), &running)).To(Succeed())
	now := time.Date(2026, 11, 19, 12, 0, 0, 0, time.UTC)

	r := explainAt(t, now, "web", "-n", ns)
	g.Expect(r.code).To(Equal(0), r.err)
	golden(t, filepath.Join("get", "retention-explain.txt"), r.out)

	r = explainAt(t, now, "web", "-n", ns, "-o", "json")
	g.Expect(r.code).To(Equal(0), r.err)
	var answer struct {
		Repository, Policy string
		Snapshots          []struct {
			Name   string
			Stays  bool
			KeptBy []struct{ Rule, Of string }
			Until  *time.Time
			Reason string
		}
	}
	g.Expect(json.Unmarshal([]byte(r.out), &answer)).To(Succeed())
	g.Expect(answer.Repository).To(Equal("keeping/web"))
	g.Expect(answer.Policy).To(Equal("keeping/keep"))
	g.Expect(answer.Snapshots).To(HaveLen(5))
	g.Expect(answer.Snapshots[0].KeptBy).To(HaveLen(3))
	g.Expect(answer.Snapshots[4].Reason).To(Equal("TooOld"))

	file := filepath.Join(t.TempDir(), "policy.yaml")
	g.Expect(
		os.WriteFile(file, []byte("apiVersion: backup.cairn.dev/v1alpha1\nkind: RetentionPolicy\nmetadata: {name: "+
			"try}\nspec: {maxRetentionPeriod: 1y}\n"), 0o600)).To(Succeed())
	r = explainAt(t, now, "web", "-n", ns, "--policy", file)
	g.Expect(r.code).To(Equal(0), r.err)
	g.Expect(r.out).NotTo(MatchRegexp(`(?m) no +`), "all of them are younger than a year")

	explainDefault(t, ns, now)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"nosuch"}, "there is no Repository nosuch in namespace keeping"},
		{[]string{"other"}, "everything is kept. Try one with --policy"},
		{[]string{"web", "--policy", "nosuch.yaml"}, "read --policy"},
		{[]string{"web", "--policy", "testdata/batch.yaml"}, "read --policy testdata/batch.yaml"},
	} {
		r := explainAt(t, now, append(c.args, "-n", ns)...)
		g.Expect(r.code).To(Equal(1))
		g.Expect(r.err).To(ContainSubstring(c.want))
	}
}

// explainDefault asks about a Repository for which no policy names a RetentionPolicy, and that has a default.
func explainDefault(t testing.TB, ns string, now time.Time) {
	t.Helper()
	g := NewWithT(t)
	var configuration v1alpha1.BackupConfiguration
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "web"}, &configuration)).To(Succeed())
	configuration.Spec.Backends[0].RetentionPolicy = nil
	g.Expect(bed.Client.Update(t.Context(), &configuration)).To(Succeed())
	r := explainAt(t, now, "web", "-n", ns)
	g.Expect(r.err).
		To(ContainSubstring(
			"names a RetentionPolicy for this Repository, and no default is in force: everything is kept"))

	var repository v1alpha1.Repository
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "web"}, &repository)).To(Succeed())
	repository.Status.DefaultRetention = &v1alpha1.DefaultRetention{
		Ref:          v1alpha1.ObjectReference{Namespace: ns, Name: "keep"},
		RemovesAfter: new(metav1.NewTime(now.Add(5 * time.Hour))),
	}
	g.Expect(bed.Client.Status().Update(t.Context(), &repository)).To(Succeed())
	r = explainAt(t, now, "web", "-n", ns)
	g.Expect(r.code).To(Equal(0), r.err)
	g.Expect(r.err).
		To(Equal(
			"RetentionPolicy keeping/keep is a default that is new here or was changed: Snapshots that it does not " +
				"keep are removed after 2026-11-19 17:00\n"))
	golden(t, filepath.Join("get", "retention-explain.txt"), r.out)
	r = explainAt(t, now, "web", "-n", ns, "-o", "json")
	g.Expect(r.out).To(ContainSubstring(`"removesAfter": "2026-11-19T17:00:00Z"`))
	r = explainAt(t, now.Add(5*time.Hour), "web", "-n", ns)
	g.Expect(r.err).To(BeEmpty(), "it is over")
}
