package agent

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
)

// check reports why the sidecar does not carry an order out. An order is an annotation, which others than the manager
// can write where the admission policy cairn-orders is missing. So the sidecar does nothing on its word alone: what the
// object itself says, and its status, which only the manager and movers write, has to say the same.
func (c *current) check(namespace string) error {
	w, a := &c.work, &c.assignment
	t := w.TaskOf(a)
	if err := t.Check(); err != nil {
		return err
	}
	if err := w.CheckNames(a); err != nil {
		return err
	}
	var err error
	if c.restore != nil {
		err = checkRestore(c.restore, w, a)
	} else {
		err = checkBackup(c.snapshot, w, a)
	}
	return cmp.Or(err, same("task.namespace", t.Namespace, namespace))
}

// same reports that a field of an order is not what it has to be.
func same(field, has, want string) error {
	if has == want {
		return nil
	}
	return fmt.Errorf("check work: %s is %q, and the object that gives the work says %q", field, has, want)
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkBackup compares an order with the Snapshot that it is for.
func checkBackup(s *v1alpha1.Snapshot, w *sidecar.Work, a *sidecar.Assignment) error {
	if s.Status.Phase.Terminal() {
		return fmt.Errorf("check work: Snapshot %s has ended with phase %s", s.Name, s.Status.Phase)
	}
	t := w.Task
	return first(
		same("task.kind", string(t.Kind), string(task.KindBackup)),
		same("task.snapshot.name", t.Snapshot.Name, s.Name),
		same("task.snapshot.uid", string(t.Snapshot.UID), string(s.UID)),
		same("task.repository.name", t.Repository.Name, s.Spec.Repository),
		same("keys", string(w.Keys), string(sidecar.KeysOf(s.Namespace, s.Spec.Repository))),
		streamless(a),
	)
}

// checkRestore compares an order with the RestoreSession that it is for, as the manager has frozen it. The manager
// freezes a restore only after it has checked the confirmation.
func checkRestore(r *v1alpha1.RestoreSession, w *sidecar.Work, a *sidecar.Assignment) error {
	resolved, t := r.Status.Resolved, w.Task
	if resolved == nil || resolved.Executor != v1alpha1.ExecutorSidecar ||
		r.Status.Phase != v1alpha1.RestoreSessionRunning || len(resolved.Task.Args) == 0 {
		return fmt.Errorf("check work: status of RestoreSession %s: no restore by a sidecar is under way", r.Name)
	}
	if t.RestoreSession == nil { // of another kind of work
		return same("task.kind", string(t.Kind), string(task.KindRestore))
	}
	if err := first(
		same("task.kind", string(t.Kind), string(task.KindRestore)),
		same("attempt", strconv.Itoa(a.Attempt), strconv.Itoa(int(r.Status.Attempt))),
		same("task.restoreSession.name", t.RestoreSession.Name, r.Name),
		same("task.restoreSession.uid", string(t.RestoreSession.UID), string(r.UID)),
		same("task.snapshot.name", t.Snapshot.Name, resolved.Snapshot),
		same("task.snapshot.uid", string(t.Snapshot.UID), string(resolved.SnapshotUID)),
		same("task.repository.name", t.Repository.Name, resolved.Repository.Name),
		same("task.repository.uid", string(t.Repository.UID), string(resolved.Repository.UID)),
		same("task.repository.directory", t.Repository.Directory,
			policy.NormalizeDirectory(resolved.Repository.Directory)),
		same("task.storage.name", t.Storage.Namespace+"/"+t.Storage.Name,
			resolved.Repository.StorageRef.Namespace+"/"+resolved.Repository.StorageRef.Name),
		same("keys", string(w.Keys),
			string(sidecar.KeysOf(cmp.Or(resolved.Namespace, r.Namespace), resolved.Repository.Name))),
		same("args", strings.Join(w.Args, " "), strings.Join(resolved.Task.Args[1:], " ")),
		streamless(a), checkRules(r, t.Restore),
	); err != nil {
		return err
	}
	return checkVolumes(resolved, a)
}

// checkRules compares how an order treats what is in the volumes with what the RestoreSession asks for.
func checkRules(r *v1alpha1.RestoreSession, rules *task.Restore) error {
	if rules == nil {
		rules = &task.Restore{}
	}
	uid, _, _ := strings.Cut(r.Spec.Confirm, "/")
	if uid != "" && uid != string(r.Status.Resolved.TargetUID) {
		return same("confirm", uid, string(r.Status.Resolved.TargetUID))
	}
	return first(
		same("task.restore.overwrite", string(rules.Overwrite), string(r.Overwrites())),
		same("task.restore.deleteExtra", strconv.FormatBool(rules.DeleteExtra),
			strconv.FormatBool(r.Spec.DeleteExtraFiles)),
		same("task.restore.verify", strconv.FormatBool(rules.Verify), strconv.FormatBool(r.Spec.Verify)),
		same("task.restore.group", strconv.FormatBool(rules.Group), "false"),
	)
}

// checkVolumes compares the components of an order with those of its host.
func checkVolumes(resolved *v1alpha1.ResolvedRestore, a *sidecar.Assignment) error {
	i := slices.IndexFunc(resolved.Hosts, func(h v1alpha1.ResolvedRestoreHost) bool { return h.Name == a.Host })
	if i < 0 {
		return fmt.Errorf("check work: the status of the RestoreSession has no host %s", a.Host)
	}
	volumes := resolved.Hosts[i].Volumes
	for _, c := range a.Components {
		i := slices.IndexFunc(volumes, func(v v1alpha1.ResolvedRestoreVolume) bool { return v.Component == c.Name })
		if i < 0 {
			return fmt.Errorf("check work: host %s of the RestoreSession has no component %s", a.Host, c.Name)
		}
		if err := first(
			same("volume", c.Volume, volumes[i].Volume), same("path", c.Path, volumes[i].Path),
			same("id", c.ID, volumes[i].ID),
		); err != nil {
			return fmt.Errorf("component %s: %w", c.Name, err)
		}
	}
	return nil
}

// streamless refuses a program: a sidecar moves volumes only.
func streamless(a *sidecar.Assignment) error {
	for _, c := range a.Components {
		if c.Stream != nil || c.Snapshot != nil || c.Claim != nil {
			return fmt.Errorf("check work: component %s is no volume", c.Name)
		}
	}
	return nil
}

// hasPlace reports whether the keys in the Secret are for the storage of an order: keys never go to another one. Which
// storage they are for is in the Secret, too. A manager of an earlier version did not write it.
func (s *Sidecar) hasPlace(c *current) bool {
	place, err := s.secret(c.work.Keys.Place())
	return errors.Is(err, fs.ErrNotExist) || err == nil && sidecar.IsPlace(place, c.work.Task.Storage)
}

// secret reads a key of the sidecar's Secret, and nothing outside its directory.
func (s *Sidecar) secret(key string) ([]byte, error) {
	root, err := os.OpenRoot(s.Mover.Path(s.SecretDir))
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	return root.ReadFile(key)
}
