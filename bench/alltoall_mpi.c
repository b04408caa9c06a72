/* MPI_Alltoall of any MPI, timed; bench/collectives_peers compiles and runs it.
 *
 *   mpirun ... alltoall_mpi SECONDS BYTES...
 *
 * For each size (bytes to each peer) one line on rank 0's standard output: the size, then the
 * time of each repetition in microseconds: from behind a barrier until the slowest rank is done.
 * Repeats for about SECONDS, 5 to 2000 times. What is received is checked in a repetition before.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kFewest = 5, kMost = 2000, kWarmUp = 2 };

static unsigned char pattern(int from, int to, long i) {
  return (unsigned char)(from * 31 + to * 7 + i);
}

static double repetition(const unsigned char* in, unsigned char* out, int bytes) {
  MPI_Barrier(MPI_COMM_WORLD);
  const double begin = MPI_Wtime();
  MPI_Alltoall(in, bytes, MPI_BYTE, out, bytes, MPI_BYTE, MPI_COMM_WORLD);
  const double mine = MPI_Wtime() - begin;
  double slowest = 0;
  MPI_Allreduce(&mine, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return slowest;
}

static void fail(const char* what) {
  fprintf(stderr, "alltoall_mpi: %s\n", what);
  MPI_Abort(MPI_COMM_WORLD, 1);
}

static void measure(int rank, int size, double seconds, int bytes) {
  const size_t all = (size_t)size * (size_t)bytes;
  unsigned char* in = malloc(all + 1);
  unsigned char* out = malloc(all + 1);
  if (in == NULL || out == NULL) {
    fail("out of memory");
  }
  for (int peer = 0; peer < size; ++peer) {
    for (long i = 0; i < bytes; ++i) {
      in[(long)peer * bytes + i] = pattern(rank, peer, i);
    }
  }
  memset(out, 0, all + 1);
  double once = 0; /* with the barrier, which takes longer than a small all-to-all */
  for (int i = 0; i < kWarmUp; ++i) {
    const double begin = MPI_Wtime();
    repetition(in, out, bytes);
    const double mine = MPI_Wtime() - begin;
    MPI_Allreduce(&mine, &once, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  }
  for (int peer = 0; peer < size; ++peer) {
    for (long i = 0; i < bytes; ++i) {
      if (out[(long)peer * bytes + i] != pattern(peer, rank, i)) {
        fail("wrong bytes received");
      }
    }
  }
  /* The same on all ranks, for so is `once`. */
  const double wanted = once > 0 ? seconds / once : kMost;
  const int count = wanted < kFewest ? kFewest : wanted > kMost ? kMost : (int)wanted;
  if (rank == 0) {
    printf("%d", bytes);
  }
  for (int i = 0; i < count; ++i) {
    const double t = repetition(in, out, bytes);
    if (rank == 0) {
      printf(" %.2f", t * 1e6);
    }
  }
  if (rank == 0) {
    printf("\n");
    fflush(stdout);
  }
  free(in);
  free(out);
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0, size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (argc < 3) {
    fail("usage: alltoall_mpi SECONDS BYTES...");
  }
  for (int i = 2; i < argc; ++i) {
    measure(rank, size, atof(argv[1]), atoi(argv[i]));
  }
  MPI_Finalize();
  return 0;
}
