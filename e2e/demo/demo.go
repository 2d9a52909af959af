// Package demo shows the whole way of Cairn on a real cluster: policy in Git, a batch that is expanded, backups, a
// restore, records in Git, and what happens when policy changes for good or bad. What it prints is what really
// happened.
package demo

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/e2e/testbed"
)

//go:embed app.yaml
var app []byte

// namespace of the demo's application.
const namespace = "shop"

// show is one run of the demo.
type show struct {
	bed   *testbed.Testbed
	root  string
	work  string
	out   io.Writer
	begin time.Time
	// policy is a person's working copy of the repository with the policy.
	policy *testbed.Checkout
}

// Run shows the demo in a testbed that is deployed. It can be run again on the same testbed.
func Run(ctx context.Context, bed *testbed.Testbed, root string, out io.Writer) error {
	work, err := os.MkdirTemp("", "cairn-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the demo: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	s := &show{bed: bed, root: root, work: work, out: out, begin: time.Now()}
	for _, step := range []func(context.Context) error{
		s.clean, s.application, s.commitPolicy, s.watchSync, s.watchExpansion, s.watchSession, s.restore, s.records,
		s.mergePullRequest, s.breakPolicy,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	s.end()
	return nil
}

// say prints a headline.
func (s *show) say(text string) {
	fmt.Fprintf(s.out, "\n── %s\n", text)
}

// note prints a line of explanation.
func (s *show) note(format string, args ...any) {
	fmt.Fprintf(s.out, "   %s\n", fmt.Sprintf(format, args...))
}

// cairn runs the command line and prints it with its output, as a user would see it.
func (s *show) cairn(ctx context.Context, args ...string) error {
	out, err := s.cairnOutput(ctx, args...)
	s.printCommand("cairn "+strings.Join(args, " "), out)
	if err != nil {
		return fmt.Errorf("run cairn %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

func (s *show) cairnOutput(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.root, "bin", "cairn"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.bed.Kubeconfig)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *show) printCommand(command, out string) {
	fmt.Fprintf(s.out, "   $ %s\n", command)
	for line := range strings.Lines(out) {
		fmt.Fprintf(s.out, "     %s", line)
	}
	if out != "" && !strings.HasSuffix(out, "\n") {
		fmt.Fprintln(s.out)
	}
}

// git runs git in a working copy and prints it with its output.
func (s *show) git(ctx context.Context, c *testbed.Checkout, args ...string) error {
	out, err := c.Git(ctx, args...)
	s.printCommand("git "+strings.Join(args, " "), out)
	return err
}

func (s *show) get(ctx context.Context, name string, object client.Object) error {
	return s.bed.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object)
}

func (s *show) end() {
	fmt.Fprintf(s.out, `
── That was all of it, in %s. What to look at next:
   export KUBECONFIG=%s
   kubectl get cairn -n %s                 # every object of Cairn in the namespace, and the catalog
   kubectl describe policysync shop -n %s  # the events
   bin/cairn get backupsessions -n %s
   bin/cairn trigger batch/shop --session frequent -n %s --wait
   git clone %s/policy.git --branch backup-records   # the user is %s, the password is in Secret %s/git-server
   docs/guides                               # the same by hand, step by step
   make demo-down                            # stops everything and removes it
`, time.Since(s.begin).Round(time.Second), s.bed.Kubeconfig, namespace, namespace, namespace, namespace,
		s.bed.Git.HostURL, s.bed.Git.Username, testbed.Namespace)
}
