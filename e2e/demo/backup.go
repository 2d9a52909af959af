package demo

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
	"github.com/cairn-backup/cairn/internal/text"
)

// waitTargets waits until the batch has exactly these targets and all of them are ready.
func (s *show) waitTargets(ctx context.Context, names ...string) error {
	var seen string
	err := testbed.Poll(ctx, testbed.Patience, "BackupBatch shop", func(ctx context.Context) (bool, error) {
		var batch v1alpha1.BackupBatch
		if err := s.get(ctx, "shop", &batch); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		var ready []string
		seen = ""
		for _, t := range batch.Status.Targets {
			seen += fmt.Sprintf("%s %s %s; ", t.Name, t.Phase, t.Reason)
			if t.Phase == v1alpha1.PhaseReady {
				ready = append(ready, t.Name)
			}
		}
		return batch.Status.Phase == v1alpha1.PhaseReady && slices.Equal(ready, names), nil
	})
	if err != nil {
		return fmt.Errorf("%w (last seen: %s)", err, seen)
	}
	return nil
}

// watchExpansion shows what the batch became.
func (s *show) watchExpansion(ctx context.Context) error {
	if err := s.waitTargets(ctx, "web", "db", "uploads"); err != nil {
		return err
	}
	s.say("The batch was expanded: one configuration and one repository for each target")
	if err := s.cairn(ctx, "get", "policies", "-n", namespace); err != nil {
		return err
	}
	return s.cairn(ctx, "get", "repositories", "-n", namespace)
}

// watchSession waits for the first slot of the schedule and shows the session as it runs.
func (s *show) watchSession(ctx context.Context) error {
	s.say("Waiting for the next full minute: the schedule starts a session, with one Job for each target")
	var session v1alpha1.BackupSession
	shown := map[string]string{}
	err := testbed.Poll(ctx, testbed.Patience, "a session of the batch", func(ctx context.Context) (bool, error) {
		if session.Name == "" {
			var sessions v1alpha1.BackupSessionList
			if err := s.bed.Client.List(ctx, &sessions, client.InNamespace(namespace)); err != nil ||
				len(sessions.Items) == 0 {
				return false, err
			}
			session = sessions.Items[0]
		}
		if err := s.get(ctx, session.Name, &session); err != nil {
			return false, err
		}
		if err := s.showProgress(ctx, &session, shown); err != nil {
			return false, err
		}
		return session.Status.Phase.Terminal(), nil
	})
	if err != nil {
		return err
	}
	if session.Status.Phase != v1alpha1.BackupSessionSucceeded {
		_ = s.cairn(ctx, "get", "backupsessions", "-n", namespace, "-o", "yaml")
		return fmt.Errorf("BackupSession %s ended %s: %s", session.Name, session.Status.Phase, session.Status.Reason)
	}
	s.say("The session has succeeded, and these are its snapshots")
	if err := s.cairn(ctx, "get", "backupsessions", "-n", namespace); err != nil {
		return err
	}
	return s.cairn(ctx, "get", "snapshots", "-n", namespace)
}

// showProgress prints a line when a component of the session has moved on.
func (s *show) showProgress(ctx context.Context, session *v1alpha1.BackupSession, shown map[string]string) error {
	var snapshots v1alpha1.SnapshotList
	err := s.bed.Client.List(ctx, &snapshots, client.InNamespace(namespace),
		client.MatchingLabels{v1alpha1.LabelBackupSession: session.Name})
	if err != nil {
		return err
	}
	for _, snapshot := range snapshots.Items {
		for _, name := range slices.Sorted(maps.Keys(snapshot.Status.Components)) {
			c := snapshot.Status.Components[name]
			line := fmt.Sprintf("%-10s", c.Phase)
			switch {
			case c.Phase.Terminal():
				line += fmt.Sprintf(" %s, %s, sent %s in %s", text.Quantity(c.Files, "file"), c.Size, c.Uploaded,
					c.Duration)
			case c.Progress != nil:
				line += " " + text.Quantity(c.Progress.FilesDone, "file")
			}
			key := snapshot.Spec.AppRef.Name + "/" + name
			if shown[key] != line {
				shown[key] = line
				s.note("%-14s %s", key, line)
			}
		}
	}
	return nil
}

// restore restores the newest snapshot of web into a new volume and compares every file.
func (s *show) restore(ctx context.Context) error {
	s.say("A restore: the newest snapshot of web into the new volume web-restored")
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web-restored"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			},
		},
	}
	if err := s.bed.Client.Create(ctx, claim); err != nil {
		return fmt.Errorf("create the volume: %w", err)
	}
	err := s.cairn(ctx, "restore", "web-restored", "-n", namespace, "--repository", "shop-web", "--snapshot", "latest",
		"--target", "web-restored", "--run-as-user", "1000", "--wait")
	if err != nil {
		return err
	}
	return s.compare(ctx)
}

// compare lists the original and the restored volume, file by file, with content, mode, owner and time.
func (s *show) compare(ctx context.Context) error {
	web, err := s.webPod(ctx)
	if err != nil {
		return err
	}
	original, err := s.bed.Exec(ctx, namespace, web, nil, "/toolbox", "manifest", "--skip-root", "/var/www")
	if err != nil {
		return err
	}
	var restored string
	reader := testbed.VolumePod{Namespace: namespace, Name: "reader", Claim: "web-restored", User: 1000}
	err = s.bed.WithVolumePod(ctx, reader, func(ctx context.Context) (err error) {
		restored, err = s.bed.Exec(ctx, namespace, reader.Name, nil, "/toolbox", "manifest", "--skip-root", "/data")
		return err
	})
	if err != nil {
		return err
	}
	digest, entries, err := testbed.SameTree(original, restored)
	if err != nil {
		return fmt.Errorf("the restored volume differs from the original: %w", err)
	}
	s.note("%d entries of the original and of the restored volume were read: type, mode, owner, time, size, content.",
		entries)
	s.note("They are equal. sha256 over all of it, of both: %s", digest)
	s.note("What was not restored is the volume's own top directory: it belongs to root, and here no mover runs " +
		"as root.")
	return nil
}

// records shows what the Ledger committed.
func (s *show) records(ctx context.Context) error {
	s.say("What happened is on its way into Git, on a branch of its own")
	var restore v1alpha1.RestoreSession
	err := testbed.Poll(ctx, testbed.Patience, "the record of the restore", func(ctx context.Context) (bool, error) {
		if err := s.get(ctx, "web-restored", &restore); err != nil {
			return false, err
		}
		return len(restore.Status.Records) > 0 && restore.Status.Records[0].Commit != "", nil
	})
	if err != nil {
		return err
	}
	checkout, err := s.bed.Clone(ctx, filepath.Join(s.work, "records"), "policy", "backup-records")
	if err != nil {
		return err
	}
	if err := s.git(ctx, checkout, "log", "--stat=100", "-2", "--format=%h %an: %s%n%n%b"); err != nil {
		return err
	}
	file, err := checkout.Git(ctx, "ls-files", "clusters/demo/records/shop/*-"+string(restore.UID)[:8]+".yaml")
	if err != nil {
		return err
	}
	if file == "" || strings.Contains(file, "\n") {
		return fmt.Errorf("the branch backup-records does not hold exactly one record of the restore: %q", file)
	}
	s.note("one record, as anybody who can read the branch sees it:")
	return s.git(ctx, checkout, "show", "HEAD:"+file)
}
