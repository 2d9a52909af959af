package faults

import (
	"fmt"
	"math/rand"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

const (
	kills = 10
	// envSeed names another seed than this one: it chooses other moments.
	envSeed     = "CAIRN_FAULTS_SEED"
	defaultSeed = 20260701
)

// moments are the writes that a manager is killed at, by resource, with the number of those that it surely makes.
var moments = []struct {
	resource string
	writes   int
}{{"backupsessions", 8}, {"snapshots", 6}, {"jobs", 4}, {"backupsessions", 8}, {"configmaps", 1}}

// A manager that is killed at ten of its writes, before or after they take effect, while runs of a configuration and of
// a batch go through all their phases: nothing is done twice and nothing is lost.
func TestManagerKilledMidSession(t *testing.T) {
	begun(t)
	t.Parallel()
	g := NewWithT(t)
	s := newShop(t, &east)
	seed := int64(defaultSeed)
	if text := os.Getenv(envSeed); text != "" {
		var err error
		seed, err = strconv.ParseInt(text, 10, 64)
		g.Expect(err).NotTo(HaveOccurred())
	}
	random := rand.New(rand.NewSource(seed))
	data := t.TempDir()
	for n := range kills {
		s.start(t, 2*n)
		s.start(t, 2*n+1)
		moment := moments[n%len(moments)]
		at, after := 1+random.Intn(moment.writes), random.Intn(2) == 0
		stop := s.cluster.gate.arm(after, nthWrite(moment.resource, at))
		p := startManager(t, s.cluster, data)
		g.Eventually(stop.reached, patience).
			Should(BeClosed(), "manager %d makes %d writes of %s", n, at, moment.resource)
		p.kill()
		s.cluster.gate.disarm(stop)
		t.Logf("killed at write %d of %s, in effect %t: %s", at, moment.resource, after, stop.where)
	}
	startManager(t, s.cluster, data)
	g.Eventually(func(g Gomega) { s.cluster.settled(g, t, s.ledger, s.sessions...) }, patience, glance).
		Should(Succeed(), "all is recorded")
	for _, run := range s.sessions {
		s.check(t, run)
	}
	s.once(t)
	s.remote.check(t, "east", s.sessions...)
	g.Expect(s.ledger.Status.Recorded).To(BeEquivalentTo(len(s.sessions)))
}

// nthWrite matches the nth request that changes objects of a resource, and everything that would be changed after it.
func nthWrite(resource string, n int) func(*http.Request) bool {
	count := 0 // the gate asks for one request at a time
	return func(r *http.Request) bool {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return false
		}
		if strings.Contains(r.URL.Path+"/", "/"+resource+"/") {
			count++
		}
		return count >= n
	}
}

// shop is a namespace with two policies: a configuration of a claim, and a batch of a claim, a Deployment and a
// StatefulSet of two pods.
type shop struct {
	cluster  *cluster
	kubelet  *kubelet.Runs
	remote   *remote
	ledger   *v1alpha1.Ledger
	sessions []*v1alpha1.BackupSession
}

// The repositories of the two invokers, and how many movers a run has in each.
var repositories = map[string]map[string]int{
	"uploads": {"uploads": 1},
	"shop":    {"shop-web": 1, "shop-uploads": 1, "shop-db": 2},
}

func newShop(t testing.TB, c *cluster) *shop {
	t.Helper()
	namespace := c.Namespace(t, nil)
	s := &shop{cluster: c}
	s.remote = newGitServer(t, nil).repository(t, "shop")
	s.ledger = c.ledger(t, namespace, "east", s.remote.url)
	sessiontest.Storage(t, c.Client, namespace, namespace)
	sessiontest.Create(t, c.Client, workloads(namespace)...)
	c.Create(t, configuration(namespace), batch(namespace))
	// One mover dies without a word, so that a repetition is part of it.
	lost := map[types.UID]bool{}
	s.kubelet = startKubelet(t, c, namespace, func(k task.Task) bool {
		if k.Components[0].Name != "pod-0" || lost[k.Snapshot.UID] || k.Snapshot.Spec.BackupSession != "run-5" {
			return false
		}
		lost[k.Snapshot.UID] = true
		return true
	})
	return s
}

// start makes the nth run, of one invoker after the other.
func (s *shop) start(t testing.TB, n int) {
	t.Helper()
	kind, invoker := v1alpha1.BackupConfigurationKind, "uploads"
	if n%2 == 1 {
		kind, invoker = v1alpha1.BackupBatchKind, "shop"
	}
	run := session(s.ledger.Namespace, fmt.Sprintf("run-%d", n), kind, invoker)
	s.cluster.Create(t, run)
	s.sessions = append(s.sessions, run)
}

// check fails the test unless a run succeeded, with one Snapshot in each repository.
func (s *shop) check(t testing.TB, run *v1alpha1.BackupSession) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(run.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%s: %s %+v", run.Name, run.Status.Reason,
		run.Status.Targets)
	var list v1alpha1.SnapshotList
	g.Expect(s.cluster.Client.List(t.Context(), &list, client.InNamespace(run.Namespace),
		client.MatchingLabels{v1alpha1.LabelBackupSession: run.Name})).To(Succeed())
	want := map[string]int{}
	for repository, movers := range repositories[run.Spec.Invoker.Name] {
		want[policy.SnapshotName(repository, run.Name)] = movers
	}
	have := map[string]int{}
	for _, snap := range list.Items {
		have[snap.Name] = len(snap.Status.Components)
		g.Expect(snap.Status.Phase).To(Equal(v1alpha1.SnapshotSucceeded), snap.Name)
		for name, c := range snap.Status.Components {
			g.Expect(c.Phase).To(Equal(v1alpha1.SnapshotSucceeded), name)
			g.Expect(c.ID).To(Equal("k"+string(snap.UID[:8])+name), "the Snapshot is the one that the mover knew")
		}
	}
	g.Expect(have).To(Equal(want), "the Snapshots of %s", run.Name)
}

// once fails the test if a mover ran twice, except the movers that died.
func (s *shop) once(t testing.TB) {
	t.Helper()
	g := NewWithT(t)
	want := 1 // that died, of run-5
	for _, run := range s.sessions {
		for _, movers := range repositories[run.Spec.Invoker.Name] {
			want += movers
		}
	}
	backups := 0
	for name, uids := range s.kubelet.Jobs() {
		g.Expect(uids).To(HaveLen(1), "job %s was made once", name)
		if strings.HasPrefix(name, "backup-") {
			backups++
		}
	}
	g.Expect(backups).To(Equal(want), "movers of backups: %v", s.kubelet.Jobs())
}

func info(name string) []v1alpha1.RepositoryInfo {
	return []v1alpha1.RepositoryInfo{{
		Name: name, Backend: "main", Directory: "/" + name,
		EncryptionSecret: &v1alpha1.ObjectReference{Name: sessiontest.EncryptionName},
	}}
}

func addon(name string) *v1alpha1.AddonInfo {
	return &v1alpha1.AddonInfo{Name: name, Tasks: []v1alpha1.TaskReference{{Name: "logical-backup"}}}
}

var (
	backends = []v1alpha1.BackendReference{
		{Name: "main", StorageRef: &v1alpha1.ObjectReference{Name: sessiontest.StorageName}},
	}
	nightly = v1alpha1.SessionConfig{
		Name: "nightly", BackupTimeout: &metav1.Duration{Duration: time.Hour}, SessionHistoryLimit: new(int32(100)),
	}
	uploads = v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "uploads"}
	other   = v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "other"}
	web     = v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: v1alpha1.KindDeployment, Name: "web"}
	db      = v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: v1alpha1.KindStatefulSet, Name: "db"}
)

func configuration(namespace string) *v1alpha1.BackupConfiguration {
	return &v1alpha1.BackupConfiguration{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "uploads"},
		Spec: v1alpha1.BackupConfigurationSpec{
			Target: &other, Backends: backends,
			Sessions: []v1alpha1.BackupConfigurationSession{
				{SessionConfig: nightly, Addon: addon("pvc-addon"), Repositories: info("uploads")},
			},
		},
	}
}

func batch(namespace string) *v1alpha1.BackupBatch {
	return &v1alpha1.BackupBatch{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"},
		Spec: v1alpha1.BackupBatchSpec{
			Backends: backends,
			Targets: []v1alpha1.BatchTarget{
				{Name: "web", AppRef: web}, {Name: "uploads", AppRef: uploads}, {Name: "db", AppRef: db},
			},
			Sessions: []v1alpha1.BackupBatchSession{{SessionConfig: nightly, Targets: []v1alpha1.BatchSessionTarget{
				{Name: "web", Addon: addon("workload-addon"), Repositories: info("shop-web")},
				{Name: "uploads", Addon: addon("pvc-addon"), Repositories: info("shop-uploads")},
				{Name: "db", Addon: addon("workload-addon"), Repositories: info("shop-db")},
			}}},
		},
	}
}

// workloads are the targets, as they run.
func workloads(namespace string) []client.Object {
	webs, dbs := map[string]string{"app": "web"}, map[string]string{"app": "db"}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: dbs}, Spec: sessiontest.PodSpec("", "none"),
	}
	template.Spec.Volumes = nil
	claim := *sessiontest.Claim("", "data")
	claim.Status = corev1.PersistentVolumeClaimStatus{}
	return []client.Object{
		sessiontest.Claim(namespace, "uploads"), sessiontest.Claim(namespace, "other"),
		sessiontest.Claim(namespace, "web-data"),
		sessiontest.Claim(namespace, "data-db-0"), sessiontest.Claim(namespace, "data-db-1"),
		&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
			Spec: appsv1.DeploymentSpec{
				Selector: &metav1.LabelSelector{MatchLabels: webs},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: webs}, Spec: sessiontest.PodSpec("", "web-data"),
				},
			},
		},
		sessiontest.Pod(namespace, "web-0", "node-a", "web-data", webs),
		&appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "db"},
			Spec: appsv1.StatefulSetSpec{
				Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: dbs}, Template: template,
				VolumeClaimTemplates: []corev1.PersistentVolumeClaim{claim},
			},
		},
		sessiontest.Pod(namespace, "db-0", "node-b", "data-db-0", dbs),
	}
}
