/*
 * hopper, p2pdrl, peer 0; p2p 0.2.0
 *
 * p2p_policy_act(obs, actions) reads P2P_OBS_DIM raw observations and writes
 * P2P_ACTION_DIM actions within their bounds. Call it every P2P_STEP_DT seconds.
 * policy.json says what each number is. NaN in gives NaN out: check before.
 *
 *     #include "p2p_policy.h"
 *
 *     float obs[P2P_OBS_DIM] = {0}, actions[P2P_ACTION_DIM];
 *     p2p_policy_act(obs, actions);
 *
 * C99; no allocation; link with -lm. Include it in one file: it holds the weights.
 */
#ifndef P2P_POLICY_H
#define P2P_POLICY_H

#include <math.h>

#define P2P_OBS_DIM 11
#define P2P_ACTION_DIM 3
#define P2P_HIDDEN_1 4
#define P2P_HIDDEN_2 4
#define P2P_NUM_POLICIES 1
#define P2P_STEP_DT 0.008

static const float p2p_action_low[P2P_ACTION_DIM] = {
        -1.0f, -1.0f, -1.0f
};

static const float p2p_action_high[P2P_ACTION_DIM] = {
        1.0f, 1.0f, 1.0f
};

static const float p2p_obs_clip[P2P_NUM_POLICIES] = {
        10.0f
};

static const float p2p_obs_mean[P2P_NUM_POLICIES][11] = {
    {
        1.228387f, -0.0421814993f, -0.0574273691f, -0.0923602059f, 0.0434782989f, -0.163871318f, -0.245551631f, -0.826613128f,
        -0.613453984f, -0.508228958f, 0.705955148f
    }
};

static const float p2p_obs_inv_std[P2P_NUM_POLICIES][11] = {
    {
        38.7746048f, 14.209096f, 12.7411642f, 8.949296f, 6.84407043f, 2.66182399f, 3.39199591f, 0.785716355f,
        0.743519783f, 0.68069154f, 0.648810506f
    }
};

static const float p2p_w1[P2P_NUM_POLICIES][44] = {
    {
        -0.653728306f, -0.643579304f, -0.189565271f, 0.1741478f, -0.0819338709f, 0.438437015f, 0.287130237f, 0.737673163f,
        0.0487127714f, 0.456660837f, -0.239939973f, 0.214397982f, -0.255913526f, 0.205100939f, 0.798519552f, 0.514539659f,
        -0.06745556f, -0.771701157f, 0.116683841f, 0.204502687f, -0.116863847f, -0.525440991f, 0.427257806f, -0.527068138f,
        -0.126911908f, 0.392604619f, 0.00897778384f, 0.225370854f, 0.490070283f, -0.73709029f, -0.63245219f, 0.2837286f,
        -0.229866996f, -0.0508353598f, 0.892716527f, -0.768010318f, 0.284530282f, 0.122169055f, 0.461901486f, 0.0748138651f,
        0.136943653f, -0.286678135f, -0.120587848f, -0.425619781f
    }
};

static const float p2p_b1[P2P_NUM_POLICIES][4] = {
    {
        -0.00106768578f, -0.00110603764f, -0.000238293331f, -0.000403004f
    }
};

static const float p2p_w2[P2P_NUM_POLICIES][16] = {
    {
        -0.473051965f, 1.27919412f, -0.208855301f, -0.313706696f, -0.00154464354f, -0.0322997309f, 1.11607957f, -0.867696226f,
        0.854792893f, 0.596706152f, 0.597386837f, 0.74818033f, -1.02290595f, -0.094603762f, 0.593707442f, 0.769034326f
    }
};

static const float p2p_b2[P2P_NUM_POLICIES][4] = {
    {
        -0.00087670167f, -0.000493647705f, -0.00123058003f, 0.00162053865f
    }
};

static const float p2p_w3[P2P_NUM_POLICIES][12] = {
    {
        0.00999601744f, 0.00115801569f, -0.00106322998f, 0.000745012192f, 0.00213914108f, -0.00457884418f, -0.00851342734f, -0.00446669478f,
        -0.00261731958f, 0.00311746192f, -0.0084907636f, 0.00580564654f
    }
};

static const float p2p_b3[P2P_NUM_POLICIES][3] = {
    {
        -0.000761854579f, 0.00137737137f, 0.00186082488f
    }
};

static inline float p2p_clip(float x, float low, float high) {
    return x < low ? low : (x > high ? high : x);
}

/* out = w in + b, with w [outputs, inputs]. */
static inline void p2p_layer(const float *w, const float *b, const float *in, float *out,
                             int inputs, int outputs) {
    int i, n;
    for (n = 0; n < outputs; n++) {
        float sum = b[n];
        for (i = 0; i < inputs; i++) sum += w[n * inputs + i] * in[i];
        out[n] = sum;
    }
}

static inline void p2p_policy_act(const float *obs, float *actions) {
    float in[P2P_OBS_DIM], h1[P2P_HIDDEN_1], h2[P2P_HIDDEN_2], out[P2P_ACTION_DIM];
    float sum[P2P_ACTION_DIM] = {0};
    int i, k;
    for (k = 0; k < P2P_NUM_POLICIES; k++) {
        for (i = 0; i < P2P_OBS_DIM; i++)
            in[i] = p2p_clip((obs[i] - p2p_obs_mean[k][i]) * p2p_obs_inv_std[k][i],
                             -p2p_obs_clip[k], p2p_obs_clip[k]);
        p2p_layer(p2p_w1[k], p2p_b1[k], in, h1, P2P_OBS_DIM, P2P_HIDDEN_1);
        for (i = 0; i < P2P_HIDDEN_1; i++) h1[i] = tanhf(h1[i]);
        p2p_layer(p2p_w2[k], p2p_b2[k], h1, h2, P2P_HIDDEN_1, P2P_HIDDEN_2);
        for (i = 0; i < P2P_HIDDEN_2; i++) h2[i] = tanhf(h2[i]);
        p2p_layer(p2p_w3[k], p2p_b3[k], h2, out, P2P_HIDDEN_2, P2P_ACTION_DIM);
        for (i = 0; i < P2P_ACTION_DIM; i++)
            sum[i] += p2p_clip(out[i], p2p_action_low[i], p2p_action_high[i]);
    }
    for (i = 0; i < P2P_ACTION_DIM; i++)
        actions[i] = p2p_clip(sum[i] / (float)P2P_NUM_POLICIES, p2p_action_low[i],
                              p2p_action_high[i]);
}

#endif
