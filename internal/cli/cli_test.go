package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/cairn-backup/cairn/internal/cli"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/version"
)

func TestExitCodes(t *testing.T) {
	unreachable := filepath.Join(t.TempDir(), "kubeconfig")
	NewWithT(t).Expect(os.WriteFile(unreachable, []byte(strings.Join([]string{
		"apiVersion: v1", "kind: Config", "current-context: c",
		"clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]",
		"users: [{name: u, user: {token: top-secret}}]", "contexts: [{name: c, context: {cluster: c, user: u}}]",
	}, "\n")), 0o600)).To(Succeed())

	empty := filepath.Join(t.TempDir(), "kubeconfig")
	NewWithT(t).Expect(os.WriteFile(empty, []byte("apiVersion: v1\nkind: Config\n"), 0o600)).To(Succeed())

	tests := map[string]struct {
		args string
		code int
		err  string
	}{
		"help is fine": {"help", 0, ""},
		"an unknown command": {
			"frobnicate", 2,
			`unknown command "frobnicate" for "cairn": it has completion, doctor, get, ` +
				`ledger, pause, repository, restore, resume, retention, snapshot, trigger, validate, version`,
		},
		"an unknown flag": {
			"get policies --frob", 2,
			`unknown flag: --frob: see "cairn get policies --help"`,
		},
		"get of nothing": {
			"get", 2,
			"say what to show: policies, backupsessions, snapshots, repositories, restorebatches or restoresessions",
		},
		"get of something unknown": {
			"get pods", 2,
			`unknown command "pods" for "cairn get": it has backupsessions, policies, ` +
				`repositories, restorebatches, restoresessions, snapshots`,
		},
		"get of something unknown with a flag": {
			"get bc covers -n shop", 2,
			`unknown command "bc" for "cairn get": it has backupsessions, policies, ` +
				`repositories, restorebatches, restoresessions, snapshots`,
		},
		"two names": {
			"get policies a b", 2,
			`wrong number of arguments: usage is "cairn get policies [NAME]"`,
		},
		"an unknown output": {
			"get policies -o wide", 2,
			"unknown output format \"wide\": -o must be table, json or yaml",
		},
		"validate of nothing": {"validate", 2, `wrong number of arguments: usage is "cairn validate PATH..."`},
		"restore to nowhere": {"restore --snapshot s", 2, "say where to restore to: pass --target for an " +
			"existing object, or --new-claim for a new PersistentVolumeClaim"},
		"restore of nothing": {
			"restore --target p", 2,
			"say what to restore: pass --snapshot SNAPSHOT, or --repository REPOSITORY for its newest Snapshot",
		},
		"restore of the latest of nothing": {
			"restore --target p --snapshot latest", 2,
			"--snapshot latest needs --repository",
		},
		"restore as nobody": {
			"restore --target p --snapshot s --run-as-user -1", 2,
			"--run-as-user must be 0 or more",
		},
		"a sidecar of a claim": {
			"restore --target p --snapshot s --sidecar", 2,
			"--sidecar needs a workload: pass --target deployment/NAME, statefulset/NAME or daemonset/NAME",
		},
		"a sidecar without a word": {
			"restore --target sts/p --snapshot s --sidecar", 2,
			"--sidecar restores into volumes that are in use: pass --confirm with the UID of the workload",
		},
		"a sidecar as another user": {
			"restore --target sts/p --snapshot s --sidecar --confirm u --run-as-user 1", 2,
			"--sidecar and --run-as-user cannot be used together: the sidecar runs already",
		},
		"a wait without end": {
			"restore --target p --snapshot s --timeout 0", 2,
			"--timeout must be longer than zero, for example 10m",
		},
		"a ledger without namespace": {"ledger log --ledger records", 2, "--ledger records is not NAMESPACE/NAME"},
		"a ledger and a clone": {
			"ledger log --ledger a/b --dir c", 2,
			"--ledger cannot be used together with --dir, --branch and --path: the Ledger says its branch and path",
		},
		"a url without ledger": {"ledger log --url https://x", 2, "--url needs --ledger; for a clone use --dir"},
		"no commits":           {"ledger log -n 0", 2, "--limit must be 1 or more"},
		"help about nothing we know": {
			"help frobnicate", 2,
			`unknown help topic "frobnicate": "cairn help" lists the commands`,
		},
		"help about a subcommand of another command": {"help get policies", 0, ""},
		"completion for an unknown shell": {
			"completion tcsh", 2,
			`unknown command "tcsh" for "cairn completion": it has bash, fish, powershell, zsh`,
		},
		"no cluster at all": {
			"get policies --kubeconfig EMPTY", 1,
			"no cluster is configured: set --kubeconfig or KUBECONFIG",
		},
		"version without any cluster": {"version --kubeconfig EMPTY", 0, ""},
		"a cluster that does not answer": {
			"get policies --kubeconfig UNREACHABLE", 1,
			"reach the cluster: dial tcp 127.0.0.1:1: connect: connection refused: check --kubeconfig and --context",
		},
		"a context that is not there": {
			"get policies --kubeconfig UNREACHABLE --context x", 1,
			`read the kubeconfig: invalid configuration: context was not found for specified context: x`,
		},
		"a kubeconfig that is not there": {
			"get policies --kubeconfig /nonexistent/k", 1,
			"read the kubeconfig: stat /nonexistent/k: no such file or directory",
		},
		"trigger where no cluster is": {
			"trigger bc/a --session s --kubeconfig UNREACHABLE", 1,
			"reach the cluster: dial tcp 127.0.0.1:1: connect: connection refused: check --kubeconfig and --context",
		},
		"version does not need the cluster": {"version --kubeconfig UNREACHABLE", 0, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := run(t, strings.Fields(strings.NewReplacer("UNREACHABLE", unreachable, "EMPTY", empty).
				Replace(tt.args))...)
			want := ""
			if tt.err != "" {
				want = "error: " + tt.err + "\n"
			}
			g.Expect(r.err).To(Equal(want))
			g.Expect(r.code).To(Equal(tt.code))
		})
	}
}

func TestAKubeconfigThatIsNotThereIsNamed(t *testing.T) {
	g := NewWithT(t)
	missing := filepath.Join(t.TempDir(), "config")
	t.Setenv("KUBECONFIG", missing)
	g.Expect(run(t, "get", "policies").err).To(Equal("error: KUBECONFIG=" + missing +
		" names no cluster: correct it or set --kubeconfig\n"))
	empty := filepath.Join(t.TempDir(), "empty")
	g.Expect(os.WriteFile(empty, nil, 0o600)).To(Succeed())
	g.Expect(run(t, "get", "policies", "--kubeconfig", empty).err).To(
		Equal("error: no cluster is configured: set --kubeconfig or KUBECONFIG\n"), "the flag wins")
}

// TestErrorsAreOneLine asks a real API server for what a user is not allowed to do.
func TestErrorsAreOneLine(t *testing.T) {
	g := NewWithT(t)
	r := runIn(t, "get", "policies", "-n", "default", "--as", "nobody")
	g.Expect(r.code).To(Equal(1))
	g.Expect(r.err).
		To(
			MatchRegexp(
				`^error: get policies: policysyncs.backup.cairn.dev is forbidden: User "nobody" ` +
					`cannot list .*: ask for this permission, or choose another --context\n$`))
	r = runIn(t, "restore", "A b", "-n", "default", "--snapshot", "s", "--target", "p")
	g.Expect(r.code).To(Equal(1))
	g.Expect(strings.Count(r.err, "\n")).To(Equal(1))
	g.Expect(r.err).
		To(HavePrefix(`error: create RestoreSession: RestoreSession.backup.cairn.dev "A b" is invalid: metadata.name:`))
}

func TestHelp(t *testing.T) {
	g := NewWithT(t)
	codes := run(t, "help", "exit-codes")
	g.Expect(codes.code).To(Equal(0))
	for _, line := range []string{"  0  ", "  1  ", "  2  ", "  3  ", "  4  ", "  5  "} {
		g.Expect(codes.out).To(ContainSubstring("\n" + line))
	}
	var out bytes.Buffer
	code := cli.Run(t.Context(), command.Options{
		IOStreams: genericiooptions.IOStreams{In: &out, Out: &out, ErrOut: &out},
		Program:   "/usr/local/bin/kubectl-cairn",
	}, []string{"help", "trigger"})
	g.Expect(code).To(Equal(0))
	g.Expect(out.String()).To(ContainSubstring("  kubectl cairn trigger bc/NAME|batch/NAME --session SESSION"))
	g.Expect(out.String()).To(ContainSubstring("kubectl cairn trigger batch/shop --session hourly -n shop --wait"))
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		r := run(t, "completion", shell)
		g.Expect(r.code).To(Equal(0), shell)
		g.Expect(r.out).To(ContainSubstring("__complete"), shell)
	}
}

func TestVersion(t *testing.T) {
	g := NewWithT(t)
	g.Expect(runIn(t, "version")).To(Equal(result{out: "client: " + version.Version + "\n"}))

	ns := namespace(t, "cairn-system")
	labels := map[string]string{"app": "manager"}
	g.Expect(bed.Client.Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "cairn-manager"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					Containers: []corev1.Container{{Name: "manager", Image: "registry.example.com/manager:v1"}},
				},
			},
		},
	})).To(Succeed())
	g.Expect(runIn(t, "version").out).
		To(Equal("client: " + version.Version + "\nserver: registry.example.com/manager:v1\n"))
	g.Expect(runIn(t, "version", "-o", "json").out).
		To(MatchJSON(`{"client": "` + version.Version + `", "server": "registry.example.com/manager:v1"}`))
}
