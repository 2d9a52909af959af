package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// recordsBranch makes a working copy of what a Ledger wrote.
func recordsBranch(t *testing.T, bed *testbed.Testbed, repository string) *testbed.Checkout {
	t.Helper()
	clone, err := bed.Clone(t.Context(), filepath.Join(t.TempDir(), "records"), repository, "backup-records")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return clone
}

// recordFiles lists the records in a working copy, by the name of the object that ended.
func recordFiles(t *testing.T, clone *testbed.Checkout, cluster string) map[string][]string {
	t.Helper()
	g := NewWithT(t)
	out, err := clone.Git(t.Context(), "ls-files", "clusters/"+cluster+"/records")
	g.Expect(err).NotTo(HaveOccurred())
	files := map[string][]string{}
	for _, file := range strings.Fields(out) {
		data, err := os.ReadFile(filepath.Join(clone.Dir, file))
		g.Expect(err).NotTo(HaveOccurred())
		var object struct{ Metadata struct{ Name string } }
		g.Expect(yaml.Unmarshal([]byte(strings.Split(string(data), "\n---\n")[0]), &object)).To(Succeed())
		files[object.Metadata.Name] = append(files[object.Metadata.Name], file)
	}
	return files
}

// recorded waits until the status of every BackupSession and RestoreSession of a namespace names the commit of its
// record in this Ledger, "<namespace>/<name>". The Ledger of the demo records them too, in its own time. It returns the
// names.
func recorded(t *testing.T, bed *testbed.Testbed, namespace, ledger string) []string {
	t.Helper()
	committed := func(records []v1alpha1.RecordStatus) bool {
		return slices.ContainsFunc(records,
			func(r v1alpha1.RecordStatus) bool { return r.Ledger == ledger && r.Commit != "" })
	}
	var names []string
	NewWithT(t).Expect(testbed.Poll(t.Context(), patience, "all records of "+namespace,
		func(ctx contextT) (bool, error) {
			var sessions v1alpha1.BackupSessionList
			var restores v1alpha1.RestoreSessionList
			if err := bed.Client.List(ctx, &sessions, client.InNamespace(namespace)); err != nil {
				return false, err
			}
			if err := bed.Client.List(ctx, &restores, client.InNamespace(namespace)); err != nil {
				return false, err
			}
			names = nil
			for _, s := range sessions.Items {
				if names = append(names, s.Name); !committed(s.Status.Records) {
					return false, nil
				}
			}
			for _, r := range restores.Items {
				if names = append(names, r.Name); !committed(r.Status.Records) {
					return false, nil
				}
			}
			return len(names) > 0, nil
		})).To(Succeed())
	return names
}

func (s *spine) records(t *testing.T) {
	g := NewWithT(t)
	names := recorded(t, s.bed, spineNamespace, spineNamespace+"/records")
	clone := recordsBranch(t, s.bed, "spine-"+started)
	files := recordFiles(t, clone, "e2e")
	for _, name := range names {
		// The RestoreSession "again" was deleted and made anew: it is two objects with two records.
		if name != "again" {
			g.Expect(files).To(HaveKeyWithValue(name, HaveLen(1)), "exactly one record for each ended object")
		}
	}
	g.Expect(files["again"]).To(HaveLen(2))

	file := filepath.Join(clone.Dir, files[s.ended.Name][0])
	data, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(data)).To(ContainSubstring("revision: main@sha1:" + s.commits[0]))
	for _, secret := range []string{"canary-encryption-password", s.bed.S3.SecretKey, s.bed.Git.Password} {
		g.Expect(string(data)).NotTo(ContainSubstring(secret))
	}

	_, err = kubectl(t, s.bed, "", "apply", "--dry-run=server", "-f", file)
	g.Expect(err).To(MatchError(ContainSubstring("record is set when a record is created and stays as it is")),
		"a living object is not hidden behind its record")

	// A record that is applied to another namespace starts nothing.
	freshNamespace(t, s.bed, "spine-record", nil)
	moved := strings.ReplaceAll(string(data), "namespace: "+spineNamespace+"\n", "namespace: spine-record\n")
	out, err := kubectl(t, s.bed, moved, "apply", "--dry-run=server", "-f", "-")
	g.Expect(err).NotTo(HaveOccurred(), out)
	_, err = kubectl(t, s.bed, moved, "apply", "--server-side", "-f", "-")
	g.Expect(err).NotTo(HaveOccurred())
	var record v1alpha1.BackupSession
	key := client.ObjectKey{Namespace: "spine-record", Name: s.ended.Name}
	g.Expect(s.bed.Client.Get(t.Context(), key, &record)).To(Succeed())
	g.Consistently(func() (string, error) {
		var jobs batchv1.JobList
		if err := s.bed.Client.List(t.Context(), &jobs, client.InNamespace("spine-record")); err != nil ||
			len(jobs.Items) > 0 {
			return "a Job", err
		}
		var again v1alpha1.BackupSession
		err := s.bed.Client.Get(t.Context(), key, &again)
		return again.ResourceVersion, err
	}).WithTimeout(5*time.Second).WithPolling(500*time.Millisecond).
		Should(Equal(record.ResourceVersion), "no controller acts on a record")
}
