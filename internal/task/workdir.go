package task

// MoverWorkDir is where a mover always sees the volume ${RESTIC_CACHE_VOLUME}.
const MoverWorkDir = "/tmp"
