package catalog

import (
	"path"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/variables"
)

// paramScratchDir is the task parameter with the directory where the mover keeps files that it can make again.
const paramScratchDir = "scratchDir"

// scratchMount reports whether the mover of a task mounts the volume ${RESTIC_CACHE_VOLUME} at dir, too. Dir is the
// value of paramScratchDir; scratchMount explains why it is invalid. A task that does not declare the parameter can use
// the name for anything else.
func scratchMount(t *v1alpha1.Task, dir string) (wanted bool, why string) {
	declared := slices.ContainsFunc(t.Parameters,
		func(p v1alpha1.TaskParameter) bool { return p.Name == paramScratchDir })
	switch {
	case !declared, dir == "", within(dir, task.MoverWorkDir), within(dir, variables.ScratchDir) && len(t.Steps) > 0:
		return false, ""
	}
	if why = reservedPath(dir); why != "" {
		return false, why
	}
	return true, ""
}

// within reports whether a path is dir or lies in it.
func within(p, dir string) bool {
	p = path.Clean(p)
	return p == dir || strings.HasPrefix(p, dir+"/")
}
