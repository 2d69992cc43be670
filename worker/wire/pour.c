/* The texts of many frames that were cast in one mould; see template.py.
 *
 * A mould is a tuple of literals with a hole between each two.  Every frame of a
 * block is compared with the literals, byte by byte, and what stands in the hole
 * of the text is copied out.  Nothing here decodes: JSON is left to msgspec,
 * which gets all texts of a block as one string.
 *
 * A hole ends at the first quote that no backslash takes away; that is why each
 * literal but the first has to begin with one.  A hole that is not the text's may
 * hold what needs no decoding to be known as the inside of a JSON string: ASCII
 * without control characters, quotes and backslashes.
 *
 * Python's stable ABI, so that one build fits every version from 3.11 on.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stdbool.h>
#include <string.h>

enum { LITERALS_MAX = 8 };

static const char QUOTE = '"';
static const char BACKSLASH = '\\';
static const char BETWEEN = '\x7f'; /* allowed in a string of JSON, and not after a backslash */
static const unsigned char FIRST_PRINTABLE = 0x20, LAST_PRINTABLE = 0x7e; /* of ASCII */

typedef struct {
    const char *bytes;
    Py_ssize_t size;
} Slice;

typedef struct {
    Slice literals[LITERALS_MAX];
    Py_ssize_t count;
    Py_ssize_t text; /* the literal that its hole follows */
} Mould;

/* The quote at which a hole without a text ends, or NULL. */
static const char *
end_of_plain(const char *at, const char *end)
{
    for (; at < end; at++) {
        if (*at == QUOTE) {
            return at;
        }
        unsigned char byte = (unsigned char)*at;
        if (byte < FIRST_PRINTABLE || byte > LAST_PRINTABLE || *at == BACKSLASH) {
            return NULL;
        }
    }
    return NULL;
}

/* The quote at which a text ends, or NULL.  Whatever is escaped is left to msgspec. */
static const char *
end_of_text(const char *at, const char *end)
{
    while (at < end && *at != QUOTE) {
        if ((unsigned char)*at < FIRST_PRINTABLE) {
            return NULL;
        }
        at += *at == BACKSLASH ? 2 : 1; /* at most to the NUL behind the bytes, and then no further */
    }
    return at < end ? at : NULL;
}

/* Where the next frame begins, or NULL if this one is cast otherwise; its text goes to `*out`.
 *
 * A text is followed by its quote, so text and separator never need more room than was read.
 */
static const char *
one_frame(const Mould *mould, const char *at, const char *end, char **out)
{
    for (Py_ssize_t i = 0;; i++) {
        const Slice *literal = &mould->literals[i];
        if (end - at < literal->size || memcmp(at, literal->bytes, (size_t)literal->size) != 0) {
            return NULL;
        }
        at += literal->size;
        if (i + 1 == mould->count) {
            return at;
        }
        if (i != mould->text) {
            at = end_of_plain(at, end);
        }
        else {
            const char *start = at;
            at = end_of_text(at, end);
            if (at != NULL) {
                memcpy(*out, start, (size_t)(at - start));
                *out += at - start;
                *(*out)++ = BETWEEN;
            }
        }
        if (at == NULL) {
            return NULL;
        }
    }
}

static bool
read_mould(PyObject *literals, Py_ssize_t text, Mould *mould)
{
    mould->count = PyTuple_Size(literals);
    mould->text = text;
    if (mould->count < 2 || mould->count > LITERALS_MAX) {
        PyErr_Format(PyExc_ValueError, "a mould has 2 to %d literals", (int)LITERALS_MAX);
        return false;
    }
    if (text < 0 || text > mould->count - 2) {
        PyErr_SetString(PyExc_ValueError, "the text stands between two literals");
        return false;
    }
    for (Py_ssize_t i = 0; i < mould->count; i++) {
        Slice *literal = &mould->literals[i];
        char *bytes;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(literals, i), &bytes, &literal->size) < 0) {
            return false;
        }
        literal->bytes = bytes;
        if (i > 0 && (literal->size == 0 || bytes[0] != QUOTE)) {
            PyErr_SetString(PyExc_ValueError, "a literal after a hole begins with the quote that ends it");
            return false;
        }
    }
    return true;
}

PyDoc_STRVAR(pour_doc,
"pour(block, literals, text, /)\n--\n\n"
"The frames of a block, and all their texts as one JSON string with U+007F between each two.\n\n"
"None if the block is empty or a frame of it is cast otherwise. `text` is the index of the literal\n"
"that the text follows. Raises TypeError and ValueError for what is no mould.");

static PyObject *
pour(PyObject *module, PyObject *arguments)
{
    (void)module;
    const char *at;
    Py_ssize_t size, text, frames = 0;
    PyObject *literals;
    Mould mould;
    if (!PyArg_ParseTuple(arguments, "y#O!n:pour", &at, &size, &PyTuple_Type, &literals, &text)
        || !read_mould(literals, text, &mould)) {
        return NULL;
    }
    char *room = PyMem_Malloc((size_t)size + 1); /* and the quote before it */
    if (room == NULL) {
        return PyErr_NoMemory();
    }
    char *out = room;
    *out++ = QUOTE;
    for (const char *end = at + size; at != NULL && at < end;) {
        at = one_frame(&mould, at, end, &out);
        frames += at != NULL;
    }
    PyObject *poured = NULL;
    if (at == NULL || frames == 0) {
        poured = Py_NewRef(Py_None);
    }
    else {
        out[-1] = QUOTE; /* in place of the last separator */
        poured = Py_BuildValue("ny#", frames, room, (Py_ssize_t)(out - room));
    }
    PyMem_Free(room);
    return poured;
}

static PyMethodDef methods[] = {
    {"pour", pour, METH_VARARGS, pour_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "worker.wire._pour",
    .m_doc = "The compiled part of template.py; Spool works without it.",
    .m_size = 0,
    .m_methods = methods,
};

PyMODINIT_FUNC
PyInit__pour(void)
{
    return PyModuleDef_Init(&module);
}
