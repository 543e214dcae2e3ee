// Desk: a marbled ball rolls behind a mug and books, then in front of them, while the camera swings slowly.
// SPDX-License-Identifier: LGPL-2.1-or-later

#version 3.7;
#include "common.inc"

// Centimetres.  The desk top is y = 0, the wall z = 42.
#declare Swing = -14 + 11 * Time;
Shot(<0.9 * Swing + 2, 21 - 1.2 * Time, -52 + 1.5 * Time> + Unrest(0.12), <0.05 * Swing, 8.6, 6> + Unrest(0.12), 43)

// Window at the left, lamp at the right.
#declare Quarter = 360 * (LightV + 0.5) / 4;
light_source {
  <-75, 85, -35> color srgb <1.0, 0.96, 0.90> * 1.3
  area_light vrotate(34 * x, Quarter * z), vrotate(34 * y, Quarter * z), 4, 4 adaptive 1 circular orient
}
light_source {
  <22, 33, 14> + 1.5 * <LightU, 0, LightV> color srgb <1.0, 0.80, 0.52> * 0.75
  spotlight point_at <10, 0, 8> radius 30 falloff 58 fade_distance 34 fade_power 2
}
Fill(<0.2, 0.6, -1>, <0.34, 0.36, 0.42> * 0.6)
Fill(<0, -1, 0.2>, <0.24, 0.16, 0.10> * 0.4)

#declare Matt = finish { ambient 0.03 diffuse 0.75 }
#declare Glazed = finish { ambient 0.02 diffuse 0.7 specular 0.5 roughness 0.012 reflection { 0.02, 0.2 fresnel off } }

// ---- desk and wall ----

box {
  <-90, -4, -70>, <90, 0, 42>
  pigment {
    wood turbulence 0.06 octaves 4 omega 0.55 scale <2.4, 2.4, 40> rotate <3, 88, 0> translate <0, -9, 3>
    color_map {
      [0.0 srgb <0.68, 0.45, 0.26>] [0.35 srgb <0.60, 0.37, 0.20>] [0.6 srgb <0.46, 0.27, 0.14>] [0.85 srgb <0.56, 0.34, 0.18>]
      [1.0 srgb <0.68, 0.45, 0.26>]
    }
  }
  finish { ambient 0.03 diffuse 0.7 specular 0.15 roughness 0.05 reflection { 0.02, 0.25 } }
}

#declare Stripe = pigment {
  gradient x scale 6
  color_map {
    [0.00 srgb <0.72, 0.77, 0.74>] [0.46 srgb <0.72, 0.77, 0.74>] [0.48 srgb <0.58, 0.66, 0.64>] [0.52 srgb <0.58, 0.66, 0.64>]
    [0.54 srgb <0.82, 0.83, 0.77>] [0.96 srgb <0.82, 0.83, 0.77>] [0.98 srgb <0.58, 0.66, 0.64>] [1.00 srgb <0.58, 0.66, 0.64>]
  }
}
plane { -z, -42 pigment { Stripe } normal { granite 0.06 scale 3 } finish { Matt } }
box { <-90, -4, 41>, <90, 1.6, 42> pigment { srgb <0.85, 0.82, 0.76> } finish { Matt } }

// Picture: hills under an evening sky.
union {
  difference {
    box { <-13, -9, -1.2>, <13, 9, 0> }
    box { <-11.6, -7.6, -2>, <11.6, 7.6, -0.4> }
    pigment { granite scale <4, 1, 1> color_map { [0 srgb <0.20, 0.12, 0.07>] [1 srgb <0.42, 0.27, 0.15>] } }
    finish { Matt specular 0.2 }
  }
  box {
    <-11.6, -7.6, -0.45>, <11.6, 7.6, 0>
    pigment {
      gradient y turbulence 0.16 octaves 5 omega 0.4 scale 17 translate -8 * y
      color_map {
        [0.00 srgb <0.10, 0.18, 0.14>] [0.22 srgb <0.20, 0.32, 0.20>] [0.24 srgb <0.28, 0.38, 0.36>] [0.42 srgb <0.42, 0.48, 0.52>]
        [0.44 srgb <0.95, 0.62, 0.34>] [0.65 srgb <0.90, 0.50, 0.42>] [1.00 srgb <0.32, 0.34, 0.58>]
      }
    }
    finish { Matt }
  }
  scale 0.85 translate <-5, 20.5, 42>
}

// ---- books ----

#macro Book(L, H, D, Colour, Accent)
  union {
    difference {
      box { <0, 0, 0>, <L, H, D> }
      box { <0.4, 0.35, -1>, <L + 1, H - 0.35, D + 1> }
      pigment {
        gradient x
        color_map { [0.1 color Colour] [0.1 color Accent] [0.16 color Accent] [0.16 color Colour] [0.84 color Colour] [0.84 color Accent] [0.9 color Accent] [0.9 color Colour] }
        scale D rotate -90 * y
      }
      normal { granite 0.12 scale 0.8 }
      finish { Matt specular 0.15 }
    }
    box {
      <0.3, 0.3, 0.4>, <L - 0.4, H - 0.3, D - 0.4>
      pigment { gradient y scale 0.22 color_map { [0 srgb <0.72, 0.66, 0.54>] [0.5 srgb <0.93, 0.89, 0.78>] [1 srgb <0.72, 0.66, 0.54>] } }
      finish { Matt }
    }
  }
#end

union {
  object { Book(15, 3.0, 21, srgb <0.14, 0.28, 0.42>, srgb <0.85, 0.72, 0.40>) rotate 90 * y translate <-10.5, 0, 7.5> rotate 4 * y }
  object { Book(14, 2.2, 19, srgb <0.55, 0.14, 0.13>, srgb <0.90, 0.80, 0.55>) rotate 90 * y translate <-9.5, 3.0, 7> rotate -5 * y }
  object { Book(12.5, 3.4, 17, srgb <0.20, 0.36, 0.22>, srgb <0.90, 0.86, 0.72>) rotate 90 * y translate <-9, 5.2, 6> rotate 7 * y }
  translate <-14.5, 0, 8.5>
}

// ---- mug ----

union {
  difference {
    cylinder { <0, 0.05, 0>, <0, 9.4, 0>, 4 }
    cylinder { <0, 0.7, 0>, <0, 10, 0>, 3.6 }
  }
  torus { 3.8, 0.2 translate 9.4 * y }
  difference {
    torus { 2.5, 0.55 rotate 90 * x scale <1, 1.15, 1> translate <4, 4.8, 0> }
    cylinder { <0, 0, 0>, <0, 10, 0>, 3.8 }
  }
  pigment {
    gradient y scale 9.6
    pigment_map {
      [0.22 srgb <0.90, 0.87, 0.80>]
      [0.22 radial frequency 16 color_map { [0.5 srgb <0.13, 0.30, 0.50>] [0.5 srgb <0.90, 0.87, 0.80>] }]
      [0.48 radial frequency 16 color_map { [0.5 srgb <0.13, 0.30, 0.50>] [0.5 srgb <0.90, 0.87, 0.80>] }]
      [0.48 srgb <0.13, 0.30, 0.50>]
      [0.56 srgb <0.13, 0.30, 0.50>]
      [0.56 srgb <0.90, 0.87, 0.80>]
    }
  }
  finish { Glazed }
  rotate 35 * y
  translate <3.2, 0, 0.5>
}
cylinder { <3.2, 7.6, 0.5>, <3.2, 8, 0.5>, 3.65 pigment { srgb <0.20, 0.10, 0.05> } finish { Matt reflection 0.12 specular 0.3 } }

// ---- pencils in a tin, rubber, sheet of paper ----

union {
  difference {
    cylinder { 0, 9 * y, 3.6 }
    cylinder { 0.5 * y, 10 * y, 3.3 }
    pigment { brick srgb <0.55, 0.54, 0.50>, srgb <0.80, 0.64, 0.28> brick_size <1.4, 1.4, 1.4> mortar 0.18 rotate 45 * z }
    finish { Matt specular 0.4 roughness 0.03 reflection 0.05 }
  }
  #declare R = seed(4);
  #for (I, 0, 6)
    #local A = I * 2 * pi / 7 + 0.4;
    #local Ink = srgb <0.25 + 0.7 * rand(R), 0.2 + 0.6 * rand(R), 0.2 + 0.6 * rand(R)>;
    union {
      cylinder { 0.5 * y, 13 * y, 0.42 pigment { color Ink } }
      cone { 13 * y, 0.42, 14.3 * y, 0.1 pigment { srgb <0.86, 0.70, 0.48> } }
      cone { 14.1 * y, 0.14, 14.6 * y, 0.02 pigment { color Ink } }
      finish { Matt specular 0.2 }
      rotate <0, 0, -5 - 6 * rand(R)>
      translate 1.6 * x
      rotate degrees(A) * y
    }
  #end
  translate <19, 0, 12>
}

box {
  <-1.4, 0, -2.6>, <1.4, 1.3, 2.6>
  pigment { gradient z color_map { [0.42 srgb <0.85, 0.30, 0.30>] [0.42 srgb <0.25, 0.36, 0.60>] } scale 5.3 translate -2.65 * z }
  finish { Matt } rotate 50 * y translate <-10, 0.06, -9>
}
box {
  <-9, 0, -12>, <9, 0.06, 12>
  pigment {
    gradient z scale 1.1
    pigment_map {
      [0.14 granite scale 4 color_map { [0.45 srgb <0.30, 0.32, 0.42>] [0.6 srgb <0.92, 0.91, 0.87>] }]
      [0.14 srgb <0.94, 0.93, 0.89>]
    }
  }
  finish { Matt } rotate 24 * y translate <-13, 0, -13>
}

// ---- the ball: rolls without slipping along a bent path ----

#declare Radius = 2.7;
#macro Path(T)
  #local A = radians(104 - 92 * T + 2 * T * T);
  (<3.2 + 10.4 * cos(A), Radius, 0.5 + 10.4 * sin(A)>)
#end
#declare Steps = 60;
#declare Roll = transform { rotate 0 }
#for (I, 1, Steps)
  #local From = Path(Time * (I - 1) / Steps);
  #local Move = Path(Time * I / Steps) - From;
  #local Axis = vnormalize(vcross(y, Move));
  #local Angle = degrees(vlength(Move) / Radius);
  #declare Roll = transform { Roll transform { matrix <
    vaxis_rotate(x, Axis, Angle).x, vaxis_rotate(x, Axis, Angle).y, vaxis_rotate(x, Axis, Angle).z,
    vaxis_rotate(y, Axis, Angle).x, vaxis_rotate(y, Axis, Angle).y, vaxis_rotate(y, Axis, Angle).z,
    vaxis_rotate(z, Axis, Angle).x, vaxis_rotate(z, Axis, Angle).y, vaxis_rotate(z, Axis, Angle).z, 0, 0, 0> } }
#end
sphere {
  0, Radius
  pigment {
    gradient y scale 2 * Radius translate -Radius * y
    pigment_map {
      [0.36 marble turbulence 0.7 octaves 4 scale 2.2 color_map { [0 srgb <0.90, 0.42, 0.10>] [0.5 srgb <0.98, 0.70, 0.24>] [1 srgb <0.75, 0.24, 0.06>] }]
      [0.36 srgb <0.96, 0.93, 0.86>]
      [0.43 srgb <0.96, 0.93, 0.86>]
      [0.43 radial frequency 5 color_map { [0.5 srgb <0.12, 0.42, 0.42>] [0.5 srgb <0.94, 0.86, 0.60>] }]
      [0.57 radial frequency 5 color_map { [0.5 srgb <0.12, 0.42, 0.42>] [0.5 srgb <0.94, 0.86, 0.60>] }]
      [0.57 srgb <0.96, 0.93, 0.86>]
      [0.64 srgb <0.96, 0.93, 0.86>]
      [0.64 marble turbulence 0.7 octaves 4 scale 2.2 color_map { [0 srgb <0.90, 0.42, 0.10>] [0.5 srgb <0.98, 0.70, 0.24>] [1 srgb <0.75, 0.24, 0.06>] }]
    }
  }
  finish { ambient 0.03 diffuse 0.72 specular 0.45 roughness 0.02 reflection { 0.01, 0.12 } }
  rotate <25, 0, 35>
  transform { Roll }
  translate Path(Time)
}
