package e2e

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	dto "github.com/prometheus/client_model/go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// stashMetric is a metric under both of its names: stash_appscode_com_<name> and stash_<legacy>.
type stashMetric struct {
	name, legacy string
	labels       map[string]string
	want         any // a value or a matcher
}

// series returns the value of the only series of a metric with exactly these labels. For Prometheus an empty label is
// no label.
func series(families map[string]*dto.MetricFamily, name string, labels map[string]string) (float64, error) {
	var others []string
	for _, m := range families[name].GetMetric() {
		has := map[string]string{}
		for _, label := range m.GetLabel() {
			if label.GetValue() != "" {
				has[label.GetName()] = label.GetValue()
			}
		}
		if maps.Equal(has, labels) {
			return m.GetGauge().GetValue(), nil
		}
		others = append(others, fmt.Sprint(has))
	}
	return 0, fmt.Errorf("there is no %s%v, but %s", name, labels, strings.Join(others, ", "))
}

// pushed waits until metrics have their values under both of their names. A run is pushed in several requests.
func (f *stashFlow) pushed(t *testing.T, metrics ...stashMetric) {
	t.Helper()
	var seen error
	err := testbed.Poll(t.Context(), patience, "the push of "+metrics[0].legacy, func(ctx contextT) (bool, error) {
		families, err := f.bed.Pushed(ctx)
		if err != nil {
			return false, err
		}
		seen = matchPushed(families, metrics)
		return seen == nil, nil
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), "last seen: %v", seen)
}

// matchPushed returns an error that names the first metric that is missing or has another value.
func matchPushed(families map[string]*dto.MetricFamily, metrics []stashMetric) error {
	for _, m := range metrics {
		matcher, ok := m.want.(OmegaMatcher)
		if !ok {
			matcher = Equal(m.want)
		}
		for _, name := range []string{"stash_appscode_com_" + m.name, "stash_" + m.legacy} {
			value, err := series(families, name, m.labels)
			if err != nil {
				return err
			}
			if ok, err := matcher.Match(value); err != nil || !ok {
				return errors.Join(err, fmt.Errorf("%s: %s", name, matcher.FailureMessage(value)))
			}
		}
	}
	return nil
}

// labelled adds labels to a copy, or takes them away where they are empty.
func labelled(labels map[string]string, more ...string) map[string]string {
	out := maps.Clone(labels)
	for i := 0; i < len(more); i += 2 {
		if out[more[i]] = more[i+1]; more[i+1] == "" {
			delete(out, more[i])
		}
	}
	return out
}

func (f *stashFlow) sessionLabels() map[string]string {
	return map[string]string{
		"job": "backupconfiguration-stash-flow-uploads", "invoker_kind": "BackupConfiguration",
		"invoker_name": "uploads",
		"namespace":    f.namespace, "session": "backup", "driver": "Kopia", "repository": "uploads",
	}
}

func (f *stashFlow) targetLabels() map[string]string {
	return labelled(f.sessionLabels(), "kind", "PersistentVolumeClaim", "name", "uploads")
}

func seconds(from, until *metav1.Time) float64 { return until.Sub(from.Time).Seconds() }

func (f *stashFlow) backupMetrics(t *testing.T) {
	s, snapshot := &f.ended.Status, f.snapshot(t, f.ended.Name)
	c := snapshot.Status.Components["pvc"]
	session, target := f.sessionLabels(), f.targetLabels()
	host := labelled(target, "hostname", "target")
	repository := map[string]string{
		"job": session["job"], "name": "uploads", "namespace": f.namespace, "backend": "s3", "bucket": testbed.Bucket,
		"prefix": f.prefix() + "/uploads",
	}
	f.pushed(t, []stashMetric{
		{
			"backupsession_last_success_time_seconds", "backup_last_success_time_seconds", session,
			float64(s.CompletionTime.Unix()),
		},
		{"backupsession_success", "backup_session_success", session, 1.0},
		{"backupsession_duration_seconds", "backup_session_duration_seconds", session, seconds(s.StartTime,
			s.CompletionTime)},
		{"backupsession_target_count_total", "backup_target_count_total", session, 1.0},
		{"backupsession_target_success", "backup_target_success", target, 1.0},
		{"backupsession_target_host_count_total", "backup_target_host_count_total", target, 1.0},
		{
			"backupsession_target_last_success_time_seconds", "backup_target_last_success_time_seconds", target,
			float64(snapshot.Status.SnapshotTime.Unix()),
		},
		{"backupsession_host_backup_success", "backup_host_backup_success", host, 1.0},
		{"backupsession_host_backup_duration_seconds", "backup_host_backup_duration_seconds", host, seconds(c.StartTime,
			c.CompletionTime)},
		{"backupsession_host_data_size_bytes", "backup_host_data_size_bytes", host, float64(c.SizeBytes)},
		{"backupsession_host_data_uploaded_bytes", "backup_host_data_uploaded_bytes", host, float64(c.UploadedBytes)},
		{
			"backupsession_host_data_processing_time_seconds", "backup_host_data_processing_time_seconds", host,
			seconds(c.StartTime, c.CompletionTime),
		},
		{"backupsession_host_files_total", "backup_host_files_total", host, 2.0},
		{"repository_snapshot_count", "repository_snapshot_count", repository, BeNumerically(">=", 1)},
	}...)
	out, err := kubectl(t, f.bed, "", "get", "--raw",
		"/api/v1/namespaces/cairn-system/services/cairn-pushgateway:pushgateway/proxy/metrics")
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), "as docs/reference/metrics.md asks for them")
	NewWithT(t).Expect(out).To(ContainSubstring(`namespace="` + f.namespace + `"`))
}

var createdSession = regexp.MustCompile(`backupsession/(\S+) created`)

// run starts the session by hand, as a user does, and returns the run when it has ended.
func (f *stashFlow) run(t *testing.T) *v1alpha1.BackupSession {
	t.Helper()
	out, err := program(t, f.bed, "", "cairn", "trigger", "bc/uploads", "--session", "backup", "-n", f.namespace)
	g := NewWithT(t)
	g.Expect(err).NotTo(HaveOccurred())
	name := createdSession.FindStringSubmatch(out)
	g.Expect(name).To(HaveLen(2), out)
	return endOf(t, f.bed, f.namespace, name[1])
}

// failure has the Task's first step fail.
func (f *stashFlow) failure(t *testing.T) {
	g := NewWithT(t)
	f.verdict(t, "bad")
	failed := f.run(t)
	f.verdict(t, "good")
	g.Expect(failed.Status.Phase).To(Equal(v1alpha1.BackupSessionFailed))
	g.Expect(failed.Status.Reason).To(Equal(v1alpha1.ReasonStepFailed))
	session, target := f.sessionLabels(), f.targetLabels()
	f.pushed(t, []stashMetric{
		{"backupsession_success", "backup_session_success", session, 0.0},
		{"backupsession_target_success", "backup_target_success", target, 0.0},
		{"backupsession_host_backup_success", "backup_host_backup_success", labelled(target, "hostname",
			"target"), 0.0},
		{
			"backupsession_last_success_time_seconds", "backup_last_success_time_seconds", session,
			float64(f.ended.Status.CompletionTime.Unix()),
		},
	}...)
}

// verdict changes the parameter of the Task.
func (f *stashFlow) verdict(t *testing.T, to string) {
	t.Helper()
	policy := strings.Replace(f.manifests(t, "policy.yaml"), "verdict: good", "verdict: "+to, 1)
	applyTo(t, f.bed, f.namespace, policy)
	waitReady(t, f.bed, f.configuration("uploads"), metav1.ConditionTrue, "")
}

func (f *stashFlow) gatewayDown(t *testing.T) {
	g := NewWithT(t)
	g.Expect(f.bed.StopPushgateway(t.Context())).To(Succeed())
	ended := f.run(t)
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	var said []string
	g.Expect(testbed.Poll(t.Context(), patience, "the event", func(ctx contextT) (bool, error) {
		var err error
		said, err = warnings(ctx, f.bed, ended, v1alpha1.ReasonMetricsNotPushed)
		return len(said) > 0, err
	})).To(Succeed())
	g.Expect(said).To(HaveEach(And(ContainSubstring("connection refused"),
		HaveSuffix("The metrics of this run are lost, its data is not"))))
	after := &v1alpha1.BackupSession{}
	f.get(t, after, ended.Name)
	g.Expect([]any{after.Status.Phase, after.Status.Reason, after.Status.CompletionTime}).To(
		Equal([]any{ended.Status.Phase, ended.Status.Reason, ended.Status.CompletionTime}), "the run is as it ended")
}
