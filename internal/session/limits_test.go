package session

import (
	"fmt"
	"os"
	"testing"

	. "github.com/onsi/gomega"
)

// The page of limits must state the limits in force for the volumes of a target.
func TestLimitsOfVolumesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/limits.md")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for what, limit := range map[string]any{
		"pods or nodes of a target, one Job each":                                 maxHosts,
		"volumes that one Job mounts, and claims that one Job of a restore makes": maxVolumes,
		"VolumeSnapshots that one Job makes":                                      maxSnapshots,
		"time until a temporary VolumeSnapshot of `copyMethod` can be used":       snapshotLimit,
		"time until a temporary volume of `copyMethod` is there":                  claimLimit,
	} {
		NewWithT(t).Expect(string(page)).To(ContainSubstring(fmt.Sprintf("| %s | %v |", what, limit)))
	}
}
