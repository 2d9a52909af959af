package kubestash

// VolumePaths are where the jobs of KubeStash and Stash mount a claim that they back up. Their users write these paths
// into the parameters paths, include and exclude, and mean the root of the volume.
var VolumePaths = []string{"/kubestash-data", "/stash-data"}
