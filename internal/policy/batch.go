package policy

import (
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// batchMistakes finds everything in a batch that keeps it from being expanded.
func batchMistakes(batch *v1alpha1.BackupBatch) []Mistake {
	check := batchCheck{
		batch:        batch,
		backends:     map[string]v1alpha1.ObjectReference{},
		targets:      map[string]bool{},
		used:         map[string]bool{},
		repositories: map[string]repositoryUse{},
	}
	check.declarations()
	sessions := map[string]bool{}
	for i := range batch.Spec.Sessions {
		session := &batch.Spec.Sessions[i]
		field := fmt.Sprintf("spec.sessions[%d]", i)
		if sessions[session.Name] {
			check.add(field+".name", v1alpha1.ReasonResourceValidationFailed, "two sessions have the name %q", session.Name)
		}
		sessions[session.Name] = true
		check.session(field, session)
	}
	for i, target := range batch.Spec.Targets {
		if !check.used[target.Name] {
			check.add(fmt.Sprintf("spec.targets[%d].name", i), v1alpha1.ReasonResourceValidationFailed,
				"no session names the target %q: it would never be backed up. Add it to a session or remove it", target.Name)
		}
	}
	return check.mistakes
}

type batchCheck struct {
	batch        *v1alpha1.BackupBatch
	backends     map[string]v1alpha1.ObjectReference
	targets      map[string]bool
	used         map[string]bool
	repositories map[string]repositoryUse
	mistakes     []Mistake
}

// repositoryUse is how a repository was first named.
type repositoryUse struct {
	target string
	info   v1alpha1.RepositoryInfo
}

func (c *batchCheck) add(field, reason, format string, args ...any) {
	c.mistakes = append(c.mistakes, Mistake{Field: field, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// declarations reads spec.backends and spec.targets.
func (c *batchCheck) declarations() {
	for i, backend := range c.batch.Spec.Backends {
		field := fmt.Sprintf("spec.backends[%d]", i)
		if _, twice := c.backends[backend.Name]; twice {
			c.add(field+".name", v1alpha1.ReasonResourceValidationFailed, "two backends have the name %q", backend.Name)
		}
		if backend.StorageRef == nil {
			c.add(field+".storageRef", v1alpha1.ReasonStorageNotFound, "the backend %q names no BackupStorage", backend.Name)
			c.backends[backend.Name] = v1alpha1.ObjectReference{}
			continue
		}
		c.backends[backend.Name] = *backend.StorageRef
	}
	children := map[string]bool{}
	for i, target := range c.batch.Spec.Targets {
		field := fmt.Sprintf("spec.targets[%d]", i)
		child := ChildName(c.batch.Name, target.Name)
		switch {
		case c.targets[target.Name]:
			c.add(field+".name", v1alpha1.ReasonResourceValidationFailed, "two targets have the name %q: give each its own", target.Name)
		case children[child]:
			c.add(field+".name", v1alpha1.ReasonNameConflict,
				"the target %q would make a second BackupConfiguration %q: give it another name", target.Name, child)
		}
		c.targets[target.Name], children[child] = true, true
		if ns := target.AppRef.Namespace; ns != "" && c.batch.Namespace != "" && ns != c.batch.Namespace {
			c.add(field+".appRef.namespace", v1alpha1.ReasonTargetNotFound,
				"a batch backs up its own namespace: leave the namespace %q out, or make a batch there", ns)
		}
	}
}

// session reads what a session does for each target.
func (c *batchCheck) session(field string, session *v1alpha1.BackupBatchSession) {
	seen := map[string]bool{}
	for i := range session.Targets {
		target := &session.Targets[i]
		at := fmt.Sprintf("%s.targets[%d]", field, i)
		switch {
		case !c.targets[target.Name]:
			c.add(at+".name", v1alpha1.ReasonTargetNotFound, "spec.targets has no target %q", target.Name)
		case seen[target.Name]:
			c.add(at+".name", v1alpha1.ReasonResourceValidationFailed, "the session %q names the target %q twice", session.Name, target.Name)
		}
		seen[target.Name], c.used[target.Name] = true, true
		if target.Addon == nil {
			c.add(at+".addon", v1alpha1.ReasonAddonNotFound, "the target %q has no addon", target.Name)
		}
		for j := range target.Repositories {
			c.repository(fmt.Sprintf("%s.repositories[%d]", at, j), target.Name, &target.Repositories[j])
		}
	}
}

// repository checks that a repository is named the same way wherever it is named, and by one target only.
func (c *batchCheck) repository(field, target string, info *v1alpha1.RepositoryInfo) {
	if _, ok := c.backends[info.Backend]; !ok {
		c.add(field+".backend", v1alpha1.ReasonBackendNotFound, "spec.backends has no backend %q", info.Backend)
	}
	c.mistakes = append(c.mistakes, directoryMistakes(field+".directory", info.Directory)...)
	if info.EncryptionSecret == nil {
		c.add(field+".encryptionSecret", v1alpha1.ReasonEncryptionSecretNotAvailable, "the repository %q has no encryptionSecret", info.Name)
		return
	}
	first, ok := c.repositories[info.Name]
	switch {
	case !ok:
		c.repositories[info.Name] = repositoryUse{target: target, info: *info}
	case first.target != target:
		c.add(field+".name", v1alpha1.ReasonRepositoryConflict,
			"the repository %q holds the backups of the target %q already: give %q its own", info.Name, first.target, target)
	case !sameRepository(&first.info, info):
		c.add(field, v1alpha1.ReasonRepositoryConflict,
			"the repository %q has another backend, directory or encryptionSecret in an earlier session: say the same in both", info.Name)
	}
}

func sameRepository(a, b *v1alpha1.RepositoryInfo) bool {
	return a.Backend == b.Backend && NormalizeDirectory(a.Directory) == NormalizeDirectory(b.Directory) &&
		*a.EncryptionSecret == *b.EncryptionSecret
}
