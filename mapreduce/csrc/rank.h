/* The rank of a key: what its order hangs on, as far as there is room for it. To compare two keys seldom means to look
 * at them, wherever they lie (Nyberg, Barclay, Cvetanovic, Gray, Lomet: AlphaSort, SIGMOD 1994).
 */

#ifndef MAPREDUCE_RANK_H
#define MAPREDUCE_RANK_H

#include "loops.h"

/* A rank, and where its key stands. */
typedef struct {
    uint64_t head; /* the first eight bytes, or a number */
    uint32_t rest; /* three more, and how many there are in all, or LONGER */
    uint32_t position;
} Rank;

#define RANK_BYTES 11
#define LONGER (RANK_BYTES + 1)

/* Rank keys of that type where they stand, texts from an item on that all of them have; 0 if that cannot be done for
 * one. */
int rank_all(PyObject *keys, PyTypeObject *kind, Rank *ranks, size_t count, Py_ssize_t start);

/* How many items of a key, from the first on, stand in its rank as a whole. */
Py_ssize_t items_ranked(PyObject *keys, PyTypeObject *kind, Rank rank, Py_ssize_t start);

#endif
