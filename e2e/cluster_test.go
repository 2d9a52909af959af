package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	ssautil "github.com/fluxcd/pkg/ssa/utils"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// contextT is short for the many functions that take one.
type contextT = context.Context

// patience is how long the tests wait for something that takes seconds on an idle machine. Tests of a time limit do not
// use it.
const patience = testbed.Patience

// removeNamespace removes a namespace with everything in it, if it exists.
func removeNamespace(t *testing.T, bed *testbed.Testbed, name string) {
	t.Helper()
	g := NewWithT(t)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	g.Expect(client.IgnoreNotFound(bed.Client.Delete(t.Context(), namespace))).To(Succeed())
	g.Expect(testbed.Poll(t.Context(), patience, "the end of namespace "+name, func(ctx contextT) (bool, error) {
		err := bed.Client.Get(ctx, client.ObjectKeyFromObject(namespace), namespace)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})).To(Succeed())
}

// freshNamespace makes a namespace anew. It waits for the default ServiceAccount, before which the API server refuses
// pods.
func freshNamespace(t *testing.T, bed *testbed.Testbed, name string, annotations map[string]string) {
	t.Helper()
	removeNamespace(t, bed, name)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}
	g := NewWithT(t)
	g.Expect(bed.Client.Create(t.Context(), namespace)).To(Succeed())
	g.Expect(testbed.Poll(t.Context(), patience, "the ServiceAccount of namespace "+name,
		func(ctx contextT) (bool, error) {
			err := bed.Client.Get(ctx, client.ObjectKey{Namespace: name, Name: "default"}, &corev1.ServiceAccount{})
			return err == nil, client.IgnoreNotFound(err)
		})).To(Succeed())
}

// kubectl runs the real kubectl and returns what it printed.
func kubectl(t *testing.T, bed *testbed.Testbed, stdin string, args ...string) (string, error) {
	t.Helper()
	return program(t, bed, stdin, "kubectl", args...)
}

func program(t *testing.T, bed *testbed.Testbed, stdin, name string, args ...string) (string, error) {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "stdin")
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	if _, err := file.WriteString(stdin); err != nil {
		return "", err
	}
	if _, err := file.Seek(0, 0); err != nil {
		return "", err
	}
	path, err := lookPath(t, name)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = file
	cmd.Env = append(os.Environ(), "KUBECONFIG="+bed.Kubeconfig, "PATH="+programs(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %v: %w: %s", name, args, err, out)
	}
	return string(out), nil
}

// lookPath finds a program in the directories of programs, which are not all in this process' own PATH.
func lookPath(t *testing.T, name string) (string, error) {
	t.Helper()
	for _, dir := range filepath.SplitList(programs(t)) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() && dir != "" {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no program %s: \"make e2e\" builds it", name)
}

// applyTo applies YAML into a namespace with kubectl, as a user would.
func applyTo(t *testing.T, bed *testbed.Testbed, namespace, manifests string) {
	t.Helper()
	_, err := kubectl(t, bed, manifests, "apply", "--server-side", "-n", namespace, "-f", "-")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
}

// applyToCluster applies YAML of cluster-scoped kinds. The objects are deleted with the test, unless the test failed.
func applyToCluster(t *testing.T, bed *testbed.Testbed, manifests string) {
	t.Helper()
	objects, err := ssautil.ReadObjects(strings.NewReader(manifests))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		for _, o := range objects {
			NewWithT(t).Expect(client.IgnoreNotFound(bed.Client.Delete(afterTest(t), o))).To(Succeed())
		}
	})
	applyTo(t, bed, "default", manifests)
}

// podOf waits for a pod with this label app and returns the name of the first.
func podOf(t *testing.T, bed *testbed.Testbed, namespace, app string) string {
	t.Helper()
	var name string
	NewWithT(t).Expect(testbed.Poll(t.Context(), patience, "a pod of "+app, func(ctx contextT) (bool, error) {
		var pods corev1.PodList
		if err := bed.Client.List(ctx, &pods, client.InNamespace(namespace),
			client.MatchingLabels{"app": app}); err != nil {
			return false, err
		}
		for i := range pods.Items {
			if pods.Items[i].DeletionTimestamp.IsZero() {
				name = pods.Items[i].Name
				return true, nil
			}
		}
		return false, nil
	})).To(Succeed())
	return name
}

// waitReady waits until an object's condition Ready has the status and the reason; an empty reason means any. The
// functions in also must return true as well, for what comes later than Ready.
func waitReady(
	t *testing.T, bed *testbed.Testbed, object conditioned, status metav1.ConditionStatus, reason string,
	also ...func() bool,
) {
	t.Helper()
	var seen string
	err := testbed.Poll(t.Context(), patience,
		fmt.Sprintf("%T %s to be Ready=%s %s", object, object.GetName(), status, reason),
		func(ctx contextT) (bool, error) {
			if err := bed.Client.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
				return false, client.IgnoreNotFound(err)
			}
			ready := apimeta.FindStatusCondition(object.GetConditions(), "Ready")
			if ready == nil {
				return false, nil
			}
			seen = fmt.Sprintf("%s %s: %s", ready.Status, ready.Reason, ready.Message)
			for _, so := range also {
				if !so() {
					return false, nil
				}
			}
			return ready.Status == status && (reason == "" || ready.Reason == reason) &&
				ready.ObservedGeneration == object.GetGeneration(), nil
		})
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), "last seen: "+seen)
}

// conditioned is an object of any of Cairn's kinds.
type conditioned interface {
	client.Object
	GetConditions() []metav1.Condition
}

// endOf waits until a BackupSession has ended and returns it.
func endOf(t *testing.T, bed *testbed.Testbed, namespace, name string) *v1alpha1.BackupSession {
	t.Helper()
	session := &v1alpha1.BackupSession{}
	why := "the end of BackupSession " + name
	err := testbed.Poll(t.Context(), patience, why, func(ctx contextT) (bool, error) {
		err := bed.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, session)
		return err == nil && session.Status.Phase.Terminal(), err
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred(),
		fmt.Sprintf("phase %s, targets %+v", session.Status.Phase, session.Status.Targets))
	return session
}

// startSession creates a BackupSession of a batch by hand and returns its name.
func startSession(t *testing.T, bed *testbed.Testbed, namespace, batch, session string) string {
	t.Helper()
	now := metav1.Now()
	object := &v1alpha1.BackupSession{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("%s-%s-%d", batch, session, now.UnixNano()),
		},
		Spec: v1alpha1.BackupSessionSpec{
			Invoker: v1alpha1.TypedLocalObjectReference{
				APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupBatchKind, Name: batch,
			},
			Session: session, ScheduledTime: &now,
		},
	}
	NewWithT(t).Expect(bed.Client.Create(t.Context(), object)).To(Succeed())
	return object.Name
}
