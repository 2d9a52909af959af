package workload_test

import (
	"fmt"
	"os"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/workload"
)

// The page of limits must state the limits in force for the volumes of a target.
func TestLimitsOfVolumesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/limits.md")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for what, limit := range map[string]any{
		"pods or nodes of a target, one Job each":                                 workload.MaxHosts,
		"volumes that one Job mounts, and claims that one Job of a restore makes": workload.MaxVolumes,
		"VolumeSnapshots that one Job makes":                                      workload.MaxSnapshots,
		"time until a temporary VolumeSnapshot of `copyMethod` is taken":          backup.SnapshotLimit,
		"time until a temporary volume of `copyMethod` is there":                  backup.ClaimLimit,
		"time until a temporary VolumeSnapshot that is taken can be used, " +
			"for a run without a deadline": backup.UploadLimit,
	} {
		NewWithT(t).Expect(string(page)).To(ContainSubstring(fmt.Sprintf("| %s | %v |", what, limit)))
	}
}
