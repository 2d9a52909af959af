package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// commitPolicy commits policies/examples/shop and makes the PolicySync that watches it.
func (s *show) commitPolicy(ctx context.Context) error {
	s.say("The backup policy, committed to Git")
	checkout, err := s.bed.Clone(ctx, filepath.Join(s.work, "policy"), "policy", "main")
	if err != nil {
		return err
	}
	s.policy = checkout
	examples := filepath.Join(s.root, "policies", "examples")
	for _, name := range []string{"storage.yaml", "shop.yaml"} {
		data, err := os.ReadFile(filepath.Join(examples, "shop", name))
		if err != nil {
			return fmt.Errorf("read the example: %w", err)
		}
		if err := checkout.Write("shop/"+name, string(data)); err != nil {
			return err
		}
	}
	out, err := s.cairnOutput(ctx, "validate", filepath.Join(checkout.Dir, "shop"))
	s.printCommand("cairn validate shop", strings.ReplaceAll(out, checkout.Dir+"/", ""))
	if err != nil {
		return fmt.Errorf("check the policy: %w", err)
	}
	if _, err := checkout.CommitAndPush(ctx, "main", "Back up the shop"); err != nil {
		return err
	}
	if err := s.git(ctx, checkout, "log", "--oneline", "-3"); err != nil {
		return err
	}
	for _, name := range []string{"policysync.yaml", "ledger.yaml"} {
		data, err := os.ReadFile(filepath.Join(examples, "bootstrap", name))
		if err != nil {
			return fmt.Errorf("read the example: %w", err)
		}
		if err := s.bed.Apply(ctx, data); err != nil {
			return err
		}
	}
	s.note("a PolicySync follows the branch main over HTTP; a Ledger will write to the branch backup-records over SSH")
	return nil
}

// watchSync waits until the commit is in force.
func (s *show) watchSync(ctx context.Context) error {
	if err := s.waitRevision(ctx, "ReconciliationSucceeded"); err != nil {
		return err
	}
	s.say("The cluster has pulled and applied it")
	return s.cairn(ctx, "get", "policies", "-n", namespace)
}

// waitRevision waits until the PolicySync has looked at the newest commit and its Ready condition has the reason.
func (s *show) waitRevision(ctx context.Context, reason string) error {
	head, err := s.policy.Git(ctx, "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	var seen string
	err = testbed.Poll(ctx, testbed.Patience, "PolicySync shop at "+head[:8], func(ctx context.Context) (bool, error) {
		var sync v1alpha1.PolicySync
		if err := s.get(ctx, "shop", &sync); err != nil {
			return false, err
		}
		ready := apimeta.FindStatusCondition(sync.Status.Conditions, meta.ReadyCondition)
		if ready == nil {
			return false, nil
		}
		seen = ready.Reason + ": " + ready.Message
		return ready.Reason == reason && strings.HasSuffix(sync.Status.LastAttemptedRevision, head), nil
	})
	if err != nil {
		return fmt.Errorf("%w (last seen: %s)", err, seen)
	}
	return nil
}

// mergePullRequest adds a target, removes another and calms the schedule, as the merge of a pull request does.
func (s *show) mergePullRequest(ctx context.Context) error {
	s.say("A pull request is merged: the volume logs comes in, the volume uploads goes out, the schedule " +
		"becomes hourly")
	data, err := os.ReadFile(filepath.Join(s.policy.Dir, "shop", "shop.yaml"))
	if err != nil {
		return err
	}
	// A new target takes the place of the old one, with a repository of its own.
	merged := strings.NewReplacer(
		"- name: uploads", "- name: logs", "kind: PersistentVolumeClaim, name: uploads",
		"kind: PersistentVolumeClaim, name: logs",
		"shop-uploads", "shop-logs", "/shop/uploads", "/shop/logs", `"* * * * *"`, `"0 * * * *"`).Replace(string(data))
	if err := s.policy.Write("shop/shop.yaml", merged); err != nil {
		return err
	}
	if err := s.git(ctx, s.policy, "diff", "--stat"); err != nil {
		return err
	}
	if err := s.writeLogs(ctx); err != nil {
		return err
	}
	if _, err := s.policy.CommitAndPush(ctx, "main",
		"Back up the logs, stop backing up the uploads, hourly"); err != nil {
		return err
	}
	if err := s.waitRevision(ctx, "ReconciliationSucceeded"); err != nil {
		return err
	}
	if err := s.waitTargets(ctx, "web", "db", "logs"); err != nil {
		return err
	}
	s.note("the expansion has followed: a configuration for logs is there, that of uploads is gone")
	if err := s.cairn(ctx, "get", "policies", "-n", namespace); err != nil {
		return err
	}
	s.note("and the repository of uploads stays, with its data:")
	return s.cairn(ctx, "get", "repositories", "-n", namespace)
}

// writeLogs makes the volume logs with a file in it, so that its first backup finds something.
func (s *show) writeLogs(ctx context.Context) error {
	if err := s.bed.Apply(ctx, []byte(logs)); err != nil {
		return err
	}
	if err := s.bed.WaitPod(ctx, client.ObjectKey{Namespace: namespace, Name: "logs"}); err != nil {
		return err
	}
	_, err := s.bed.Exec(ctx, namespace, "logs", nil, "/toolbox", "write", "/logs/shop.log", "the shop is open")
	return err
}

const logs = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: logs
  namespace: shop
spec:
  accessModes: [ReadWriteOnce]
  resources:
    requests:
      storage: 1Gi
---
apiVersion: v1
kind: Pod
metadata:
  name: logs
  namespace: shop
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  securityContext:
    runAsNonRoot: true
    runAsUser: 1001
    runAsGroup: 1001
    fsGroup: 1001
    seccompProfile:
      type: RuntimeDefault
  containers:
  - name: logs
    image: cairn.local/toolbox:dev
    args: [idle]
    resources:
      requests:
        cpu: 10m
        memory: 16Mi
    securityContext:
      allowPrivilegeEscalation: false
      capabilities:
        drop: [ALL]
    volumeMounts:
    - name: logs
      mountPath: /logs
  volumes:
  - name: logs
    persistentVolumeClaim:
      claimName: logs
`

// breakPolicy pushes policy with a mistake.
func (s *show) breakPolicy(ctx context.Context) error {
	s.say("Somebody pushes policy with a mistake in it")
	data, err := os.ReadFile(filepath.Join(s.policy.Dir, "shop", "shop.yaml"))
	if err != nil {
		return err
	}
	broken := strings.Replace(string(data), "backupTimeout: 10m", "backupTimeuot: 10m", 1)
	if err := s.policy.Write("shop/shop.yaml", broken); err != nil {
		return err
	}
	out, err := s.cairnOutput(ctx, "validate", filepath.Join(s.policy.Dir, "shop"))
	if err == nil {
		return fmt.Errorf("cairn validate did not see the mistake: %s", out)
	}
	s.note("in the pull request, \"cairn validate\" would have said:")
	s.printCommand("cairn validate shop", strings.ReplaceAll(out, s.policy.Dir+"/", ""))
	if _, err := s.policy.CommitAndPush(ctx, "main", "Typo"); err != nil {
		return err
	}
	if err := s.waitRevision(ctx, "ValidationFailed"); err != nil {
		return err
	}
	s.note("the cluster says the same, and keeps the last good revision in force:")
	if err := s.cairn(ctx, "get", "policies", "-n", namespace); err != nil {
		return err
	}
	s.note("the mistake is taken back:")
	if err := s.policy.Write("shop/shop.yaml", string(data)); err != nil {
		return err
	}
	if _, err := s.policy.CommitAndPush(ctx, "main", "Take the typo back"); err != nil {
		return err
	}
	return s.waitRevision(ctx, "ReconciliationSucceeded")
}
