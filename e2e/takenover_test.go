package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/sidecar"
)

// look lists the mounts of a container that somebody can read, and write where he can. What the kernel and the runtime
// give each container is left out: their files are the same everywhere.
const look = `
while read -r device path type rest; do
	case $type in proc | sysfs | devpts | mqueue | cgroup | cgroup2) continue ;; esac
	case $path in /dev | /dev/* | /proc/* | /sys/* | /etc/*) continue ;; esac
	if (: > "$path/.taken-over") 2> /dev/null; then
		rm "$path/.taken-over"
		echo "write $path"
	elif ls "$path" > /dev/null 2>&1; then
		echo "read $path"
	fi
done < /proc/self/mounts`

// TestTakenOver puts a shell in the place of a mover, of a sidecar and of the programs of a database, and lists what it
// can read and write. docs/security.md has the same list.
func TestTakenOver(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	a := &takenOver{volumeApp: deployVolumeApp(t, bed, "taken-over", 1, 4<<10)}
	databaseSecret(t, bed, a.namespace)
	t.Run("a mover of a volume", func(t *testing.T) {
		a.configure(t, "data")
		a.expect(t, "A mover that backs up a volume", a.template(t, "data"), "mover", v1alpha1.MoverServiceAccount)
	})
	t.Run("a sidecar", a.sidecar)
	t.Run("the programs of a database", a.database)
}

type takenOver struct{ *volumeApp }

// template returns the pods of the Job that backs a configuration up.
func (a *takenOver) template(t *testing.T, configuration string) corev1.PodSpec {
	t.Helper()
	g := NewWithT(t)
	run := endOf(t, a.bed, a.namespace, a.start(t, configuration))
	g.Expect(run.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", run.Status.Targets)
	var jobs batchv1.JobList
	g.Expect(a.bed.Client.List(t.Context(), &jobs, a.ofSession(run.Name)...)).To(Succeed())
	g.Expect(jobs.Items).To(HaveLen(1))
	return jobs.Items[0].Spec.Template.Spec
}

func (a *takenOver) sidecar(t *testing.T) {
	g := NewWithT(t)
	applyTo(t, a.bed, a.namespace, sidecarWorkload)
	_, err := kubectl(t, a.bed, "", "create", "rolebinding", "cairn-sidecar-injector", "-n", a.namespace,
		"--clusterrole=cairn-sidecar-injector", "--serviceaccount=cairn-system:cairn-manager")
	g.Expect(err).NotTo(HaveOccurred())
	(&sidecarApp{volumeApp: a.volumeApp}).policy(t, "app")
	waitReady(t, a.bed, a.configuration("app"), metav1.ConditionTrue, "")
	var d appsv1.Deployment
	g.Expect(a.bed.Client.Get(t.Context(), client.ObjectKey{Namespace: a.namespace, Name: "app"}, &d)).To(Succeed())
	a.expect(t, "A sidecar", d.Spec.Template.Spec, sidecar.Container, v1alpha1.SidecarServiceAccount)
}

func (a *takenOver) database(t *testing.T) {
	server := newPostgreSQL(a.bed, a.namespace)
	loadDatabases(t, a.bed, server.Image)
	server.start(t)
	server.say(t, server.fill...)
	(&databasesApp{a.volumeApp}).configure(t, "dump", databaseKind{databaseServer: server, addon: "postgres-addon"},
		"secretName: server")
	spec := a.template(t, "dump")
	a.expect(t, "The programs of a database", spec, "program", "")
	a.expect(t, "A mover that backs up a database", spec, "mover", v1alpha1.MoverServiceAccount)
}

// expect puts shells in the place of all programs of a pod, and compares what the one in this container can do with the
// row of docs/security.md. account is whose token it has, "" for none.
func (a *takenOver) expect(t *testing.T, title string, spec corev1.PodSpec, container, account string) {
	t.Helper()
	g := NewWithT(t)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, GenerateName: "shell-"}, Spec: *spec.DeepCopy(),
	}
	shell := func(c *corev1.Container, script string) {
		c.Image, c.Command, c.Args = "cairn.local/shell:dev", []string{"/bin/sh", "-c", script}, nil
		c.LivenessProbe, c.ReadinessProbe, c.StartupProbe, c.Lifecycle = nil, nil, nil, nil
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil {
			shell(c, "sleep 3600")
		} else {
			shell(c, ":")
		}
	}
	for i := range pod.Spec.Containers {
		shell(&pod.Spec.Containers[i], "sleep 3600")
	}
	g.Expect(a.bed.Client.Create(t.Context(), pod)).To(Succeed())
	t.Cleanup(func() { _ = a.bed.Client.Delete(afterTest(t), pod, client.GracePeriodSeconds(0)) })
	g.Expect(a.bed.WaitPod(t.Context(), client.ObjectKeyFromObject(pod))).To(Succeed())
	out, err := kubectl(t, a.bed, "", "exec", "-n", a.namespace, pod.Name, "-c", container, "--", "/bin/sh", "-c", look)
	g.Expect(err).NotTo(HaveOccurred())
	read, write := []string{}, []string{}
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		how, path, _ := strings.Cut(line, " ")
		if how == "write" {
			write = append(write, "`"+path+"`")
		} else {
			read = append(read, "`"+path+"`")
		}
	}
	slices.Sort(read)
	slices.Sort(write)
	rights := "nothing: it has no token"
	if account != "" {
		rights = a.rights(t, account)
	}
	row := fmt.Sprintf("| %s | %s | %s | %s |", title, list(read), list(write), rights)
	page, err := os.ReadFile(filepath.Join(root(t), "docs", "security.md"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strings.Split(string(page), "\n")).To(ContainElement(row), "docs/security.md says what it can reach")
}

func list(paths []string) string {
	if len(paths) == 0 {
		return "nothing"
	}
	return strings.Join(paths, ", ")
}

// rights asks the API server what the token of an account may do beyond what everybody may.
func (a *takenOver) rights(t *testing.T, account string) string {
	t.Helper()
	g := NewWithT(t)
	admin, err := kubernetes.NewForConfig(a.bed.Config)
	g.Expect(err).NotTo(HaveOccurred())
	token, err := admin.CoreV1().ServiceAccounts(a.namespace).CreateToken(t.Context(), account,
		&authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	config := rest.AnonymousClientConfig(a.bed.Config)
	config.BearerToken = token.Status.Token
	own, err := kubernetes.NewForConfig(config)
	g.Expect(err).NotTo(HaveOccurred())
	review, err := own.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(),
		&authorizationv1.SelfSubjectRulesReview{
			Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: a.namespace},
		}, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	var out []string
	for _, r := range review.Status.ResourceRules {
		if slices.ContainsFunc(r.Resources, func(s string) bool { return strings.HasPrefix(s, "selfsubject") }) {
			continue // everybody may ask who he is
		}
		for _, resource := range r.Resources {
			out = append(out, strings.Join(r.Verbs, ", ")+" `"+resource+"`")
		}
	}
	slices.Sort(out)
	return list(slices.Compact(out))
}
