package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// logLine is one line of the manager's log.
type logLine map[string]any

// managerLog returns the lines of the manager's log, and the whole text.
func managerLog(t *testing.T, bed *testbed.Testbed) ([]logLine, string) {
	t.Helper()
	text, err := kubectl(t, bed, "", "logs", "-n", testbed.SystemNamespace, "deployment/cairn-manager")
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), text)
	var lines []logLine
	for line := range strings.Lines(text) {
		var l logLine
		if json.Unmarshal([]byte(line), &l) == nil {
			lines = append(lines, l)
		}
	}
	return lines, text
}

// about reports whether a line has the message, names the object of TestSpine's namespace under the key, and has the
// further values. An empty value means that the line has no such key.
func (l logLine) about(message, key, name string, values map[string]string) bool {
	object, _ := l[key].(map[string]any)
	if l["msg"] != message || object["namespace"] != spineNamespace || object["name"] != name {
		return false
	}
	for k, v := range values {
		if got, ok := l[k]; v == "" && ok || v != "" && got != v {
			return false
		}
	}
	return true
}

func (s *spine) log(t *testing.T) {
	g := NewWithT(t)
	lines, text := managerLog(t, s.bed)
	once := func(message, key, name string, values map[string]string) {
		t.Helper()
		n := 0
		for _, l := range lines {
			if l.about(message, key, name, values) {
				n++
			}
		}
		g.Expect(n).To(Equal(1), "%q of %s %s %v", message, key, name, values)
	}
	g.Expect(lines).To(ContainElement(And(HaveKeyWithValue("msg", "starting manager"),
		HaveKeyWithValue("version", Not(BeEmpty())), HaveKeyWithValue("moverImage", Not(BeEmpty())))))
	for _, commit := range s.commits {
		once("applied objects", "policySync", "spine", map[string]string{"revision": "main@sha1:" + commit})
	}
	run := s.ended.Name
	once("phase changed", "backupSession", run, map[string]string{"snapshot": "", "to": "Running"})
	once("phase changed", "backupSession", run, map[string]string{"snapshot": "", "to": "Succeeded"})
	var jobs batchv1.JobList
	g.Expect(s.bed.Client.List(t.Context(), &jobs, client.InNamespace(spineNamespace),
		client.MatchingLabels{v1alpha1.LabelBackupSession: run})).To(Succeed())
	g.Expect(jobs.Items).NotTo(BeEmpty())
	for _, job := range jobs.Items {
		once("created", "job", job.Name, map[string]string{"controller": "backupsession"})
	}
	for _, snapshot := range s.ended.Status.Snapshots {
		once("created", "snapshot", snapshot.Name, nil)
		once("phase changed", "snapshot", snapshot.Name, map[string]string{"to": "Succeeded"})
	}
	once("phase changed", "restoreSession", "again", map[string]string{"to": "Running"})
	once("phase changed", "restoreSession", "again", map[string]string{"to": "Succeeded"})
	restores := 0 // the Job went with the RestoreSession, which was made again
	for _, l := range lines {
		if l["job"] != nil && l.about("created", "restoreSession", "again", nil) {
			restores++
		}
	}
	g.Expect(restores).To(Equal(1), "one claim is restored by one Job")
	var ended v1alpha1.BackupSession
	g.Expect(s.bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.ended), &ended)).To(Succeed())
	pushed := 0
	for _, record := range ended.Status.Records {
		if record.Ledger == spineNamespace+"/records" {
			once("pushed", "ledger", "records", map[string]string{"commit": record.Commit})
			pushed++
		}
	}
	g.Expect(pushed).To(Equal(1), "the run has one record in the Ledger")
	for _, secret := range []string{"canary-encryption-password", s.bed.S3.SecretKey, s.bed.Git.Password} {
		g.Expect(text).NotTo(ContainSubstring(secret))
	}
}
